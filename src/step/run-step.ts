import { invariant } from '../base/errors.js';
import { scope } from '../tensor/tensor.js';
import { type ExecutionOptions, executeProgram } from './executor.js';
import { type StepInputs, type StepMetrics, type StepResources, StepState } from './handlers/step-state.js';
import { createHandlers } from './handlers.js';
import type { Program } from './program.js';

/**
 * Runs one step of a checked program on this rank.
 *
 * @throws TrainyardError as `executeProgram`. What the step holds is then freed, and the rank's training state is
 * lost: a step that failed half way cannot be resumed.
 */
export function runStep(
  program: Program,
  resources: StepResources,
  inputs: StepInputs,
  options: Omit<ExecutionOptions, 'runScoped'>,
): StepMetrics {
  const state = new StepState(resources, inputs);
  try {
    executeProgram(program, createHandlers(program, state), { ...options, runScoped: scope });
  } finally {
    state.dispose();
  }
  invariant(state.metrics, 'a step ended without its metrics');
  return state.metrics;
}
