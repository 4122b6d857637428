import type { Handlers } from '../executor.js';
import type { Program } from '../program.js';
import { fetchGradients } from './fetch-gradients.js';
import { fetchOutput } from './fetch-output.js';
import { fetchParameters } from './fetch-parameters.js';
import type { StepState } from './step-state.js';

/** `fetch`: brings back to the device what is kept elsewhere. */
export function fetch(program: Program, state: StepState): Handlers['fetch'] {
  const output = fetchOutput(state);
  const parameters = fetchParameters(program, state);
  const gradients = fetchGradients(program, state);
  return (instruction) => {
    switch (instruction.memory) {
      case 'output':
        return output(instruction);
      case 'parameters':
        return parameters(instruction);
      case 'gradients':
        return gradients(instruction);
      default:
        return instruction satisfies never;
    }
  };
}
