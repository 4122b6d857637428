/**
 * The program that `doctor` runs in a process of its own: it loads the add-on, which may fail in every way
 * that a shared library can, and prints what it is as one line of JSON.
 */
import { readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { TrainyardError } from '../../base/errors.js';

/** What the probe prints. */
export type ProbeResult =
  | {
      readonly isLoaded: true;
      readonly version: string;
      readonly path: string;
      readonly cudaDevices: number;
      readonly threads: number;
      /** How files of offloaded memory would be read and written in the folder for temporary files. */
      readonly files: string;
    }
  | { readonly isLoaded: false; readonly what: string; readonly cure: string };

process.stdout.write(JSON.stringify(await probe()));

async function probe(): Promise<ProbeResult> {
  try {
    const { libtorchVersion } = await import('../../tensor/process.js');
    const { cudaDeviceCount } = await import('../../tensor/device-count.js');
    const { threads } = await import('../../tensor/threads.js');
    return {
      isLoaded: true,
      version: libtorchVersion(),
      path: loadedPath(),
      cudaDevices: cudaDeviceCount(),
      threads: threads(),
      files: await chosenFiles(),
    };
  } catch (error) {
    if (!(error instanceof TrainyardError)) throw error;
    const { what, got, cure } = error.report;
    return {
      isLoaded: false,
      what: got === undefined ? what : `${what} ${got}`,
      cure: cure ?? 'run `npm run setup`',
    };
  }
}

async function chosenFiles(): Promise<string> {
  const { aioSchema, openDirectFolder } = await import('../../store/index.js');
  try {
    const path = tmpdir();
    const folder = openDirectFolder(path, { setting: path, mark: 'doctor', aio: aioSchema.parse({}) });
    const chosen = `${folder.describe()}, in ${path}`;
    folder.close();
    return chosen;
  } catch (error) {
    return error instanceof TrainyardError ? `${error.report.what} ${error.report.got}` : String(error);
  }
}

/** Where the system has really found it. */
function loadedPath(): string {
  return (
    /\s(\/\S*libtorch_cpu\.so\S*)$/m.exec(readFileSync('/proc/self/maps', 'utf8'))?.[1] ?? 'unknown place'
  );
}
