import { existsSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { env } from '../base/env.js';
import { type ErrorCode, isErrorCode } from '../base/error-codes.js';
import { TrainyardError } from '../base/errors.js';
import type { NativeBinding } from './binding.js';

/**
 * Loads the add-on (once: Node's module cache keeps it). Loading takes libtorch with it, about 0.3 s, so
 * commands import this floor late.
 *
 * @throws TrainyardError LIBTORCH_MISSING when the set-up has not been run or its libtorch is gone.
 */
export function loadNative(): NativeBinding {
  const path = nativePath();
  if (!existsSync(path)) {
    throw new TrainyardError('LIBTORCH_MISSING', {
      what: 'The native add-on has not been built.',
      where: path,
      cure: 'run `npm run setup` in the clone',
    });
  }
  // libgomp's threads spin for milliseconds at every barrier before they sleep. With another process on the same
  // cores that time is taken from the very thread they wait for: a step took four times as long. A short spin
  // costs nothing that could be measured on idle cores.
  env.setDefault('GOMP_SPINCOUNT', '1000');
  // c10d tells of a store that is gone with a page of C++ frames; our errors say it in a sentence.
  env.setDefault('TORCH_CPP_LOG_LEVEL', 'ERROR');
  let binding: NativeBinding;
  try {
    binding = createRequire(import.meta.url)(path) as NativeBinding;
  } catch (cause) {
    throw new TrainyardError(
      'LIBTORCH_MISSING',
      {
        what: 'The native add-on does not load.',
        where: path,
        got: cause instanceof Error ? cause.message : String(cause),
        cure: 'run `npm run setup` again: it rebuilds against the libtorch that is there now',
      },
      { cause },
    );
  }
  binding.setErrorFactory(nativeError);
  binding.setDebug(env.debug);
  return binding;
}

/** Where the set-up puts the add-on: `build/native/trainyard.node` beside `dist`, or TRAINYARD_NATIVE. */
function nativePath(): string {
  return env.nativePath ?? join(import.meta.dirname, '../../../build/native/trainyard.node');
}

function nativeError(code: string, what: string, where: string, got: string, stack: string): Error {
  invariantCode(code);
  return new TrainyardError(code, {
    what,
    ...(where === '' ? {} : { where }),
    ...(got === '' ? {} : { got }),
    ...(stack === '' ? {} : { cure: `C++ stack:\n${stack}` }),
  });
}

function invariantCode(code: string): asserts code is ErrorCode {
  if (!isErrorCode(code)) throw new Error(`Trainyard bug: the add-on threw the unknown code ${code}`);
}
