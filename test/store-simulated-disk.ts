import { mkdirSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { FileSystem } from '../src/store/file-system.js';
import type { OpenFile } from '../src/store/open-file.js';

/** The machine stopped. Every operation after it throws the same, so that no cleaning up takes effect. */
export class SimulatedCrash extends Error {}

interface File {
  readonly kind: 'file';
  content: Buffer;
  /** How much of the content a loss of power cannot take. */
  synced: number;
}

interface Folder {
  readonly kind: 'folder';
  /** What programs see. */
  readonly entries: Map<string, Node>;
  /** What is on the disk. */
  readonly durable: Map<string, Node>;
}

type Node = File | Folder;

/** A change of names that no `syncDirectory` has put on the disk yet. */
interface Pending {
  readonly folders: readonly Folder[];
  readonly apply: () => void;
}

const newFolder = (): Folder => ({ kind: 'folder', entries: new Map(), durable: new Map() });

/**
 * A disk in memory that stops or fails at a chosen operation, and can then be written out as a real folder:
 * as a killed process leaves it, or as a loss of power may leave it, which takes any of the names and bytes
 * that were not synced, in any combination.
 */
export class SimulatedDisk implements FileSystem {
  readonly #root = newFolder();
  readonly #open = new Map<number, File>();
  #pending: Pending[] = [];
  #nextDescriptor = 3;
  #operations = 0;
  #crashed = false;
  #crashAt = Number.POSITIVE_INFINITY;
  #failAt = Number.POSITIVE_INFINITY;
  #failure = 'ENOSPC';
  /** What a program is told that is left. */
  freeBytesLeft = Number.MAX_SAFE_INTEGER;

  get operations(): number {
    return this.#operations;
  }

  /** The machine stops before the n-th operation from now on, counted from 1. */
  crashBefore(n: number): void {
    this.#crashAt = this.#operations + n;
  }

  /** The n-th operation from now on fails with an error, "disk full" where no other is given, and does nothing. */
  failOnceAt(n: number, code = 'ENOSPC'): void {
    this.#failAt = this.#operations + n;
    this.#failure = code;
  }

  makeDirectory(path: string): string | undefined {
    if (this.#find(path) !== undefined) return undefined;
    const top = this.makeDirectory(dirname(path));
    this.#count();
    this.#addEntry(path, newFolder());
    return top ?? path;
  }

  create(path: string): number {
    this.#count();
    if (this.#find(path) !== undefined) throw systemError('EEXIST');
    const file: File = { kind: 'file', content: Buffer.alloc(0), synced: 0 };
    this.#addEntry(path, file);
    this.#nextDescriptor += 1;
    this.#open.set(this.#nextDescriptor, file);
    return this.#nextDescriptor;
  }

  write(descriptor: number, bytes: Uint8Array): void {
    // In two halves, so that a crash can come between them.
    const half = bytes.byteLength >> 1;
    for (const part of [bytes.subarray(0, half), bytes.subarray(half)]) {
      this.#count();
      const file = this.#file(descriptor);
      file.content = Buffer.concat([file.content, part]);
    }
  }

  sync(descriptor: number): void {
    this.#count();
    const file = this.#file(descriptor);
    file.synced = file.content.byteLength;
  }

  close(descriptor: number): void {
    if (this.#crashed) return;
    this.#open.delete(descriptor);
  }

  syncDirectory(path: string): void {
    this.#count();
    const folder = this.#folder(path);
    const [now, later] = [[] as Pending[], [] as Pending[]];
    for (const change of this.#pending) (change.folders.includes(folder) ? now : later).push(change);
    for (const change of now) change.apply();
    this.#pending = later;
  }

  rename(from: string, to: string): void {
    this.#count();
    const node = this.#find(from);
    if (node === undefined) throw systemError('ENOENT');
    const [source, target] = [this.#folder(dirname(from)), this.#folder(dirname(to))];
    if (target.entries.get(basename(to))?.kind === 'folder') throw systemError('ENOTEMPTY');
    source.entries.delete(basename(from));
    target.entries.set(basename(to), node);
    this.#pending.push({
      folders: [source, target],
      apply: () => {
        source.durable.delete(basename(from));
        target.durable.set(basename(to), node);
      },
    });
  }

  remove(path: string): void {
    const node = this.#find(path);
    if (node === undefined) return;
    if (node.kind === 'folder') for (const name of [...node.entries.keys()]) this.remove(join(path, name));
    this.#count();
    const parent = this.#folder(dirname(path));
    parent.entries.delete(basename(path));
    this.#pending.push({ folders: [parent], apply: () => void parent.durable.delete(basename(path)) });
  }

  open<Result>(path: string, use: (file: OpenFile) => Result): Result {
    const node = this.#find(path);
    if (node?.kind !== 'file') throw systemError('ENOENT');
    const { content } = node;
    return use({
      bytes: content.byteLength,
      read: (target, position) => content.copy(target, 0, position, position + target.byteLength),
    });
  }

  isFolder(path: string): boolean {
    return this.#find(path)?.kind === 'folder';
  }

  freeBytes(): number {
    return this.freeBytesLeft;
  }

  list(path: string): readonly string[] {
    const node = this.#find(path);
    return node?.kind === 'folder' ? [...node.entries.keys()].sort() : [];
  }

  /** Writes the disk into a real folder as a killed process leaves it. */
  afterKill(target: string): void {
    writeOut(
      this.#root,
      target,
      (folder) => folder.entries,
      (file) => file.content,
    );
  }

  /** Writes the disk into a real folder as a loss of power may leave it; `chance` decides what is lost. */
  afterPowerLoss(target: string, chance: () => number): void {
    for (const change of this.#pending) if (chance() < 0.5) change.apply();
    const survivor = ({ content, synced }: File): Buffer => {
      const unsynced = Math.floor(chance() * (content.byteLength - synced + 1));
      const kept = Buffer.from(content.subarray(0, synced + unsynced));
      return chance() < 0.5 ? kept : kept.fill(0, synced);
    };
    writeOut(this.#root, target, (folder) => folder.durable, survivor);
  }

  #count(): void {
    this.#operations += 1;
    if (this.#crashed || this.#operations >= this.#crashAt) {
      this.#crashed = true;
      throw new SimulatedCrash('the machine stopped');
    }
    if (this.#operations === this.#failAt) throw systemError(this.#failure);
  }

  #addEntry(path: string, node: Node): void {
    const parent = this.#folder(dirname(path));
    parent.entries.set(basename(path), node);
    this.#pending.push({ folders: [parent], apply: () => void parent.durable.set(basename(path), node) });
  }

  #find(path: string): Node | undefined {
    let node: Node | undefined = this.#root;
    for (const name of path.split('/').filter((part) => part !== '')) {
      node = node?.kind === 'folder' ? node.entries.get(name) : undefined;
    }
    return node;
  }

  #folder(path: string): Folder {
    const node = this.#find(path);
    if (node?.kind !== 'folder') throw systemError('ENOENT');
    return node;
  }

  #file(descriptor: number): File {
    const file = this.#open.get(descriptor);
    if (file === undefined) throw systemError('EBADF');
    return file;
  }
}

function writeOut(
  node: Node,
  target: string,
  entriesOf: (folder: Folder) => ReadonlyMap<string, Node>,
  contentOf: (file: File) => Buffer,
): void {
  if (node.kind === 'file') {
    writeFileSync(target, contentOf(node));
    return;
  }
  mkdirSync(target, { recursive: true });
  for (const [name, child] of entriesOf(node)) writeOut(child, join(target, name), entriesOf, contentOf);
}

function systemError(code: string): Error {
  return Object.assign(new Error(code), { code, syscall: 'simulated' });
}

/** Numbers in [0, 1) that the seed decides (mulberry32). */
export function chanceOf(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 4_294_967_296;
  };
}
