/**
 * The typed face of the C++ add-on (`native/addon.cc`), function by function. Nothing above this floor sees
 * a `.node` file.
 *
 * A tensor crosses the border as a `Handle`: a positive 31-bit integer (slot and generation in the add-on's
 * table), so that an operator call costs neither an object nor a finalizer. `src/tensor` owns handles.
 */
export type Handle = number;

/** A value that may be an argument of an operator, after `Tensor` objects have become handles. */
export type NativeArgument =
  | Handle
  | bigint
  | boolean
  | string
  | null
  | undefined
  | readonly (number | boolean | null | undefined)[];

/** What an operator returns: handles for tensors, plain values else, an array where the schema has several. */
export type NativeResult = Handle | boolean | string | null | undefined | readonly NativeResult[];

/**
 * Called with the gradient's handle on the JavaScript thread; returns a replacement's handle, or an empty list.
 * Handles given to a callback are the callback's to free; those it returns are freed by the add-on.
 */
export type NativeHook = (gradients: readonly [Handle]) => readonly (Handle | null)[];

/** An opaque native object held by JavaScript until it is collected (store, process group, work, hook). */
export interface NativeObject {
  readonly native: unique symbol;
}

export interface OperatorBinding {
  /** Looks an operator up ("aten::add", "Tensor"); throws when there is none. The number is valid for the process. */
  findOperator(name: string, overload: string): number;
  /** The schema as libtorch prints it. */
  operatorSchema(operator: number): string;
  /** Every registered operator as "namespace::name.overload". */
  listOperators(): readonly string[];
  /** Calls an operator; missing trailing arguments take their schema defaults. */
  call(operator: number, ...values: NativeArgument[]): NativeResult;
}

export interface TensorBinding {
  /** Copies bytes into a new contiguous tensor. `dtype` is a libtorch scalar-type code. */
  fromBytes(bytes: Uint8Array, shape: readonly number[], dtype: number): Handle;
  /** A tensor over memory that JavaScript (or a file mapping) owns; the buffer stays alive with the tensor. */
  fromExternal(bytes: Uint8Array, shape: readonly number[], dtype: number): Handle;
  /** Copies the tensor (made contiguous, on the host) into `target`, whose length must fit exactly. */
  copyToBytes(tensor: Handle, target: Uint8Array): void;
  shapeOf(tensor: Handle): number[];
  stridesOf(tensor: Handle): number[];
  dtypeOf(tensor: Handle): number;
  /** "cpu" or "cuda:0". */
  deviceOf(tensor: Handle): string;
  /** The scalar value of a one-element tensor. */
  itemOf(tensor: Handle): number;
  /** Address of the first element, for tests of aliasing. */
  addressOf(tensor: Handle): bigint;
  free(tensor: Handle): void;
  /** Frees `count` handles from the start of the array. */
  freeMany(tensors: Int32Array, count: number): void;
  liveHandles(): number;
}

/** Memory that is filled once and then only read, by every process of a host. */
export interface ConstantMemoryBinding {
  /** The pages of a file, protected. `tensorBytes` is what counts as allocated while it is mapped. */
  mapConstants(path: string, tensorBytes: number): NativeObject;
  /** What another process of this host has filled and sealed. */
  openConstants(address: string, tensorBytes: number): NativeObject;
  /** Memory of zeros without a name, to be filled through its tensors and then sealed. */
  createConstants(bytes: number): NativeObject;
  /** Ends writing for good, in every process. No tensor over it may be alive. */
  sealConstants(memory: NativeObject, tensorBytes: number): void;
  /** Where other processes of this host open it, for as long as this one has it. */
  constantsAddress(memory: NativeObject): string;
  /** A tensor over a part of it, which keeps it mapped; once sealed, operators refuse to write it. */
  constantTensor(memory: NativeObject, byteOffset: number, shape: readonly number[], dtype: number): Handle;
  /** Lets go: it is unmapped with its last tensor. */
  closeConstants(memory: NativeObject): void;
}

export interface MemoryBinding {
  /** Bytes of all host tensors. */
  allocatedBytes(): number;
  /** The most that they were since the add-on was loaded or the peak was reset. */
  peakAllocatedBytes(): number;
  resetPeakAllocatedBytes(): void;
}

export interface AutogradBinding {
  setGradEnabled(enabled: boolean): boolean;
  requiresGrad(tensor: Handle): boolean;
  setRequiresGrad(tensor: Handle, value: boolean): void;
  gradOf(tensor: Handle): Handle | undefined;
  setGrad(tensor: Handle, gradient: Handle | undefined): void;
  /** Runs backward from `outputs`; hooks run on this thread while it waits. */
  backward(outputs: readonly Handle[], gradients: readonly (Handle | null)[], retainGraph: boolean): void;
  /** Gradients of `outputs` with respect to `inputs`, without touching `.grad`. */
  gradients(
    outputs: readonly Handle[],
    inputs: readonly Handle[],
    gradients: readonly (Handle | null)[],
    retainGraph: boolean,
    allowUnused: boolean,
  ): (Handle | null)[];
  /** Runs `body`, whose backwards leave the products for weights to the object that is returned. */
  collectProducts(body: () => void): NativeObject;
  /** Adds them to the gradients of the weights and frees their factors. */
  addProducts(products: NativeObject): void;
  freeProducts(products: NativeObject): void;
  /** Calls `hook` with the gradient of `tensor` when it is known. The hook goes with the tensor, or by `removeHook`. */
  addHook(tensor: Handle, hook: NativeHook): NativeObject;
  /** Does nothing when the hook has gone already. */
  removeHook(hook: NativeObject): void;
  /**
   * Records a function written in TypeScript: `outputs` (made without grad) come back with a node whose backward
   * is `backward`. `saved` tensors live as long as the graph and are handed to it.
   */
  customFunction(
    inputs: readonly Handle[],
    outputs: readonly Handle[],
    saved: readonly Handle[],
    backward: (saved: readonly Handle[], gradients: readonly (Handle | null)[]) => readonly (Handle | null)[],
  ): Handle[];
}

export interface RandomBinding {
  manualSeed(seed: bigint): void;
  /** The state of the device's default generator, as a byte tensor's contents. */
  randomState(device: string): Uint8Array;
  setRandomState(device: string, state: Uint8Array): void;
}

export interface EnvironmentBinding {
  libtorchVersion(): string;
  setThreads(count: number): void;
  threads(): number;
  cudaDeviceCount(): number;
  /** The function that makes every error the add-on throws. `stack` is empty unless debugging. */
  setErrorFactory(
    factory: (code: string, what: string, where: string, got: string, stack: string) => Error,
  ): void;
  /** Leaves the process at once, without destructors: Gloo's threads sometimes abort in theirs. */
  exitNow(code: number): never;
  /** Shows C++ stacks in operator errors. */
  setDebug(enabled: boolean): void;
  /** Asks the kernel to end this process when its parent dies (Linux; elsewhere false). */
  dieWithParent(): boolean;
  /**
   * Starts a thread that writes the time (`Date.now()`, a double in the byte order of the machine) into an open file every
   * so many milliseconds, until this thread of JavaScript ends. It keeps no process alive.
   */
  startHeartbeat(descriptor: number, byteOffset: number, intervalMs: number): void;
  /** Maps a file read-only; the pages belong to the page cache. */
  mapFile(path: string): ArrayBuffer;
}

export interface CommunicationBinding {
  /**
   * A TCPStore client, and its server too when `isServer`. Throws RENDEZVOUS_FAILED or a network error when the
   * server does not answer before the deadline.
   */
  createStore(options: {
    readonly host: string;
    readonly port: number;
    readonly isServer: boolean;
    readonly timeoutMs: number;
  }): NativeObject;
  /** The port of the server (asked for 0: the one the system gave). */
  storePort(store: NativeObject): number;
  /** Adds to a counter, which starts at 0, and returns its new value. */
  storeAdd(store: NativeObject, key: string, amount: number): number;
  /** Blocks until the key is there; false after the deadline. */
  storeWait(store: NativeObject, key: string, timeoutMs: number): boolean;
  storeSet(store: NativeObject, key: string, value: string): void;
  /** Blocks until the key is there; throws after the deadline. */
  storeGet(store: NativeObject, key: string, timeoutMs: number): string;
  /**
   * Sets `key`, waits until all `keys` are there or `longestMs` have passed, and returns their values as far as
   * they are there; undefined when the store did not answer within `answerMs` more.
   */
  storeExchange(
    store: NativeObject,
    key: string,
    value: string,
    keys: readonly string[],
    longestMs: number,
    answerMs: number,
  ): (string | undefined)[] | undefined;
  /** Disconnects, and ends the server if it is ours. A store that is only dropped stays. */
  closeStore(store: NativeObject): void;
  createGlooGroup(options: {
    readonly store: NativeObject;
    readonly prefix: string;
    readonly rank: number;
    readonly worldSize: number;
    readonly timeoutMs: number;
    /** Network interface such as "lo"; empty: the host name's. */
    readonly networkInterface: string;
  }): NativeObject;
  /** Joins the group's threads once its queue is empty. A group that is only dropped stays. */
  closeGroup(group: NativeObject): void;
  /** Starts a collective on the tensors in place and returns its pending work. */
  allReduce(group: NativeObject, tensor: Handle, reduction: number): NativeObject;
  broadcast(group: NativeObject, tensor: Handle, root: number): NativeObject;
  send(group: NativeObject, tensor: Handle, peer: number, tag: number): NativeObject;
  receive(group: NativeObject, tensor: Handle, peer: number, tag: number): NativeObject;
  barrier(group: NativeObject): NativeObject;
  /**
   * Blocks until done, or so many milliseconds: false when it is not done by then, and goes on. Throws
   * COLLECTIVE_FAILED on failure.
   */
  waitWork(work: NativeObject, longestMs: number): boolean;
}

/** Collectives between the ranks of one host in memory that they share (native/shared-memory). */
export interface SharedMemoryBinding {
  /** Rank 0 makes the memory; the others map it by the address it gives, or throw COLLECTIVE_FAILED. */
  createSharedGroup(options: {
    readonly rank: number;
    readonly worldSize: number;
    readonly timeoutMs: number;
    /** How often a rank looks for the others before it sleeps. */
    readonly looks: number;
    /** Whether it offers its core to others in between. */
    readonly yields: boolean;
    readonly address: string;
  }): NativeObject;
  sharedGroupAddress(group: NativeObject): string;
  /** Waits until every rank has come; before anything else. */
  meetSharedGroup(group: NativeObject): void;
  /** A group that is only dropped stays. */
  closeSharedGroup(group: NativeObject): void;
  /** A tensor in memory that other processes can map. */
  sharedTensor(shape: readonly number[], dtype: number): Handle;
  /** Queues an operation and returns its ticket; without inputs the output is the input. */
  startShared(
    group: NativeObject,
    kind: number,
    detail: number,
    besideCaller: boolean,
    output?: Handle,
    inputs?: readonly Handle[],
  ): number;
  /** Returns when the operation and all before it are done; throws COLLECTIVE_FAILED. */
  waitShared(group: NativeObject, ticket: number): void;
  /** What this rank has read from the memory of the others and written into it. */
  sharedExchangedBytes(group: NativeObject): number;
}

/** Files that are read and written beside the JavaScript thread (native/file-io). */
export interface FileBinding {
  /** Throws OFFLOAD_UNUSABLE where io_uring was asked for and is not there or not allowed. */
  createFileQueue(options: {
    /** Whether by io_uring; else by threads. */
    readonly usesRing: boolean;
    readonly blockBytes: number;
    readonly depth: number;
    readonly threads: number;
    readonly singleSubmit: boolean;
    readonly overlapEvents: boolean;
    /** For tests: the request that fails, counted from 1, with which error number; 0: none. */
    readonly faultAt: number;
    readonly faultError: number;
    /** For tests: every request asks for less than it should. */
    readonly cutsShort: boolean;
  }): NativeObject;
  /** Ends when all that was started has. A queue that is only dropped stays. */
  closeFileQueue(queue: NativeObject): void;
  /** Gives an open file so many bytes of disk; the system's error number, 0 for none. */
  reserveFile(descriptor: number, bytes: number): number;
  /** What direct I/O on an open file asks of memory and of offsets, in bytes. */
  directAlignment(descriptor: number): readonly [memory: number, offset: number];
  /** The add-on's own hold on an open file, which its caller may close. */
  openTransferFile(
    descriptor: number,
    isDirect: boolean,
    memoryAlignment: number,
    offsetAlignment: number,
  ): NativeObject;
  /** What is under way keeps the file open until it ends. */
  closeTransferFile(file: NativeObject): void;
  /** Starts to read (or to write, where `writes`) bytes of a contiguous tensor of the host, which it keeps alive. */
  startTransfer(
    queue: NativeObject,
    file: NativeObject,
    writes: boolean,
    fileOffset: number,
    tensor: Handle,
    memoryOffset: number,
    bytes: number,
  ): NativeObject;
  /** Blocks until nothing of it is under way; the system's error number, 0 for none, and the offset it is about. */
  waitTransfer(transfer: NativeObject): readonly [error: number, offset: number];
  /** A tensor of zeros that begins at a page. */
  alignedTensor(shape: readonly number[], dtype: number): Handle;
}

/** Everything the add-on exports. */
export interface NativeBinding
  extends OperatorBinding,
    TensorBinding,
    ConstantMemoryBinding,
    MemoryBinding,
    AutogradBinding,
    RandomBinding,
    EnvironmentBinding,
    CommunicationBinding,
    SharedMemoryBinding,
    FileBinding {}
