import { planFlatLayout } from '../nn/flat-layout.js';
import type { ProgramReport } from '../step/checker.js';
import type { Program } from '../step/program.js';
import { compileStep, defaultSequenceLength } from './compile-step.js';
import { loadConfig } from './config.js';
import { openModel } from './model-source.js';

/** A step program and what its check found out. */
export interface DescribedProgram {
  readonly program: Program;
  readonly report: ProgramReport;
}

/**
 * The step programs that a configuration compiles to on `ranks` ranks, all checked. Reads no weights and no
 * data, and starts nothing.
 *
 * @throws TrainyardError for a wrong configuration or model, PROGRAM_INVALID for a program that cannot run.
 */
export function describePrograms(
  configPath: string,
  overrides: readonly string[],
  ranks: number,
): readonly DescribedProgram[] {
  const { config } = loadConfig(configPath, overrides, { worldSize: ranks, requires: ['model'] });
  const { model } = openModel(config.model);
  const { programs, reports } = compileStep({
    config,
    model,
    layout: planFlatLayout(model.blocks),
    goal: 'update',
    sequenceLength: config.data?.sequence_length ?? defaultSequenceLength(model),
  });
  return programs.flatMap((program, rank) => {
    const report = reports[rank];
    return report === undefined ? [] : [{ program, report }];
  });
}
