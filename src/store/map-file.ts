import { TrainyardError } from '../base/errors.js';
import { loadNative } from '../native/load.js';
import { withOpenFile } from './open-file.js';

/**
 * The whole content of a regular file, to be read only: its pages, mapped, so that a file larger than memory
 * costs what is read of it. Where the add-on has not been built, as for a tool that only looks into files, a
 * copy in memory.
 *
 * @throws UnusableFile
 */
export function mapFile(path: string): ArrayBuffer {
  try {
    return loadNative().mapFile(path);
  } catch (error) {
    if (error instanceof TrainyardError && error.code === 'LIBTORCH_MISSING') return readWhole(path);
    throw error;
  }
}

function readWhole(path: string): ArrayBuffer {
  return withOpenFile(path, (file) => {
    const content = new ArrayBuffer(file.bytes);
    file.read(new Uint8Array(content), 0);
    return content;
  });
}
