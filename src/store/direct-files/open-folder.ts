import { closeSync, statfsSync } from 'node:fs';
import { resolve } from 'node:path';
import { TrainyardError } from '../../base/errors.js';
import type { NativeObject } from '../../native/binding.js';
import { native } from '../../native/native.js';
import { alignedZeros } from '../../tensor/aligned-buffers.js';
import { scope } from '../../tensor/tensor.js';
import type { AioConfig } from '../config.js';
import type { DirectFile, DirectFolder } from '../direct-files.js';
import type { FileDescriptor } from '../file-system.js';
import { describeFileError } from '../open-file.js';
import { FILE_ALIGNMENT } from './alignment.js';
import { describeErrorNumber, unusableFolder } from './failures.js';
import { directAlignment, openDirectFile, paddedLength } from './file.js';
import { createNamelessFile, removeLeftNames } from './nameless-file.js';
import {
  createQueue,
  describeKind,
  describeQueue,
  type Fault,
  TRANSFER_KINDS,
  type TransferKind,
} from './transfer-queue.js';

export interface DirectFolderOptions {
  /** The setting that names the folder, for errors. */
  readonly setting: string;
  /** Names the run to whoever looks at open files: letters, digits, dots and hyphens. */
  readonly mark: string;
  readonly aio: AioConfig;
  /** Tried in order; left out: the best that works there. */
  readonly kinds?: readonly TransferKind[];
  /** For tests. */
  readonly fault?: Fault;
}

/**
 * Opens a folder for files of offloaded memory, in the first way that works there: a page is written and read to see.
 *
 * @throws TrainyardError OFFLOAD_UNUSABLE when the folder is missing, read-only, full, or takes no file
 */
export function openDirectFolder(path: string, options: DirectFolderOptions): DirectFolder {
  demandFolder(path, options);
  const reasons: string[] = [];
  for (const kind of options.kinds ?? TRANSFER_KINDS) {
    const reason = whyNot(path, kind, options);
    if (reason === undefined) return openWith(path, kind, options, reasons);
    reasons.push(`not ${describeKind(kind)}: ${reason}`);
  }
  throw unusableFolder(path, options.setting, reasons.join('; '));
}

function demandFolder(path: string, { setting, mark }: DirectFolderOptions): void {
  try {
    removeLeftNames(path);
    closeSync(createNamelessFile(path, mark, false));
  } catch (error) {
    throw unusableFolder(path, setting, describeFileError(error));
  }
}

/** Why a kind does not work in a folder; undefined when it does. */
function whyNot(path: string, kind: TransferKind, options: DirectFolderOptions): string | undefined {
  let queue: NativeObject | undefined;
  try {
    queue = createQueue(kind, { ...options.aio, queue_depth: 1, intra_op_parallelism: 1 });
    return whyNoPage(queue, path, kind, options);
  } catch (error) {
    if (error instanceof TrainyardError) return error.report.got ?? error.report.what;
    return describeFileError(error);
  } finally {
    if (queue !== undefined) native.closeFileQueue(queue);
  }
}

function whyNoPage(
  queue: NativeObject,
  path: string,
  kind: TransferKind,
  options: DirectFolderOptions,
): string | undefined {
  const file = createFile(queue, path, kind, options, 'a page to see', FILE_ALIGNMENT);
  return scope(() => {
    const written = alignedZeros([FILE_ALIGNMENT], 'uint8').fill_(1);
    const read = alignedZeros([FILE_ALIGNMENT], 'uint8');
    file.write(0, written, 0, FILE_ALIGNMENT).wait();
    file.read(0, read, 0, FILE_ALIGNMENT).wait();
    file.close();
    return read.equal(written) ? undefined : 'what was read is not what was written';
  });
}

function createFile(
  queue: NativeObject,
  path: string,
  { isDirect }: TransferKind,
  { mark, setting }: DirectFolderOptions,
  name: string,
  bytes: number,
): DirectFile {
  const file: FileDescriptor = createNamelessFile(path, mark, isDirect);
  const alignment = isDirect ? directAlignment(file) : undefined;
  const error = native.reserveFile(file, paddedLength(bytes));
  const isUnfit = isDirect && alignment === undefined;
  if (error === 0 && !isUnfit) return openDirectFile(queue, file, `${path} (${name})`, bytes, alignment);
  closeSync(file);
  const got = isUnfit ? 'direct I/O there asks for more than pages' : describeErrorNumber(error);
  throw unusableFolder(path, setting, got, `room for ${bytes} bytes of ${name}`);
}

function openWith(
  path: string,
  kind: TransferKind,
  options: DirectFolderOptions,
  reasons: readonly string[],
): DirectFolder {
  const { aio, setting, fault } = options;
  const queue = createQueue(kind, aio, fault);
  return {
    path: resolve(path),
    describe: () => [describeQueue(kind, aio), ...reasons].join('; '),
    demandSpace(bytes) {
      const { bavail, bsize } = statfsSync(path);
      if (bavail * bsize >= bytes) return;
      throw unusableFolder(path, setting, `${bavail * bsize} bytes free`, `${bytes} bytes free`);
    },
    create(name, bytes) {
      try {
        return createFile(queue, path, kind, options, name, bytes);
      } catch (error) {
        if (error instanceof TrainyardError) throw error;
        throw unusableFolder(path, setting, describeFileError(error));
      }
    },
    close: () => native.closeFileQueue(queue),
  };
}
