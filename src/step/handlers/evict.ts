import type { Handlers } from '../executor.js';
import type { Program } from '../program.js';
import { evictGradients } from './evict-gradients.js';
import { evictOutput } from './evict-output.js';
import type { StepState } from './step-state.js';

/** `evict`: moves to where it is kept what the device need not have. */
export function evict(program: Program, state: StepState): Handlers['evict'] {
  const output = evictOutput(state);
  const gradients = evictGradients(program, state);
  return (instruction) => {
    switch (instruction.memory) {
      case 'output':
        return output(instruction);
      case 'gradients':
        return gradients(instruction);
      default:
        return instruction satisfies never;
    }
  };
}
