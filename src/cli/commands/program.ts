import { TrainyardError } from '../../base/errors.js';
import type { ConfigOptions } from '../program/option-values.js';

export interface ProgramOptions extends ConfigOptions {
  readonly ranks?: number;
  readonly rank?: number;
}

/** Prints what each rank would do in a step, without doing it. */
export async function printStepProgram(config: string, options: ProgramOptions): Promise<void> {
  const ranks = options.ranks ?? 1;
  if (options.rank !== undefined && options.rank >= ranks) {
    throw new TrainyardError('USAGE', {
      what: `There is no rank ${options.rank}.`,
      expected: `--rank below ${ranks}, the number of --ranks`,
    });
  }
  const { describeProgram } = await import('../../engine/describe-program.js');
  const description = await describeProgram({
    configPath: config,
    overrides: options.set ?? [],
    worldSize: ranks,
    ...(options.rank !== undefined && { rank: options.rank }),
  });
  const text = options.json === true ? JSON.stringify(description.json) : description.text;
  process.stdout.write(`${text}\n`);
}
