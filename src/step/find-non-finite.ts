import { invariant } from '../base/errors.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import { executeProgram } from './executor.js';
import { type StepInputs, type StepMetrics, type StepResources, StepState } from './handlers/step-state.js';
import { createHandlers } from './handlers.js';
import type { Instruction } from './instruction.js';
import { instructionText } from './instruction-text.js';
import { type NonFiniteElements, nonFiniteElements } from './non-finite.js';
import type { Program } from './program.js';

/** The first tensor of a step on one rank that was not finite. */
export interface NonFiniteTensor extends NonFiniteElements {
  readonly kind: 'output' | 'gradient';
  /** The block's name, such as "model.layers.3". */
  readonly module: string;
  /** The full name of the parameter whose gradient it is, or the output's name. */
  readonly tensor: string;
  readonly block: number;
  readonly micro: number;
  /** Of the instruction, counted from 0. */
  readonly position: number;
  /** As programs are printed. */
  readonly instruction: string;
}

export interface NonFiniteSearch {
  /** Absent where everything that this rank computed was finite. */
  readonly found: NonFiniteTensor | undefined;
  readonly metrics: StepMetrics;
}

/**
 * Runs a step once more and looks, after each forward and each backward, at what this rank has made: outputs, gradients
 * of parameters before any rank has seen the others', and gradients of outputs. Nothing is updated. All ranks of the
 * program must call it, with the batches and the random states of the step.
 *
 * @throws TrainyardError as `executeProgram`
 */
export function findNonFinite(
  program: Program,
  resources: StepResources,
  inputs: StepInputs,
  step: number,
): NonFiniteSearch {
  const state = new StepState(resources, inputs);
  // What the program leaves out for an overflow is left out here, also if there is none this time.
  state.overflow = 'a step that is looked through';
  const handlers = createHandlers(program, state);
  const first = new FirstFound(program, state);
  const watched = {
    ...handlers,
    forward: (instruction: Instruction<'forward'>) => {
      handlers.forward(instruction);
      first.lookAtOutputs(instruction);
    },
    backward: (instruction: Instruction<'backward'>) => {
      handlers.backward(instruction);
      first.lookAtGradients(instruction);
    },
    accumulate: () => undefined,
    step: () => undefined,
    // The weights stay those of the step. An `update` finds that what the step before left is through.
    adopt: () => undefined,
  };
  const runScoped = (body: () => void): void => {
    scope(body);
    first.position += 1;
  };
  try {
    executeProgram(program, watched, { step, runScoped });
  } finally {
    state.dispose();
  }
  invariant(state.metrics, 'a step ended without its metrics');
  return { found: first.found, metrics: state.metrics };
}

class FirstFound {
  found: NonFiniteTensor | undefined;
  position = 0;

  constructor(
    private readonly program: Program,
    private readonly state: StepState,
  ) {}

  lookAtOutputs(instruction: Instruction<'forward'>): void {
    const { block, micro } = instruction;
    const { output } = this.state.forwards.get(block, micro);
    for (const [name, tensor] of Object.entries(output)) this.#look(instruction, 'output', name, tensor);
  }

  lookAtGradients(instruction: Instruction<'backward'>): void {
    const { block, micro, half } = instruction;
    // Backward comes to the last parameter of a block first.
    const slots = [...(this.state.resources.parameters.layout.blocks[block] ?? [])].reverse();
    for (const { name, owner, trainable } of half === 'input' ? [] : slots) {
      if (!trainable) continue;
      const { gradient } = this.state.resources.parameters.owner(owner);
      if (gradient !== undefined) this.#look(instruction, 'gradient', name, gradient);
    }
    if (block === 0 || half === 'weights') return;
    for (const [name, tensor] of Object.entries(this.state.outputGradients.get(block - 1, micro))) {
      this.#look(instruction, 'gradient', `the input "${name}"`, tensor);
    }
  }

  #look(
    instruction: Instruction<'forward' | 'backward'>,
    kind: NonFiniteTensor['kind'],
    tensor: string,
    values: Tensor,
  ): void {
    if (this.found !== undefined) return;
    const elements = nonFiniteElements(values);
    if (elements === undefined) return;
    this.found = {
      kind,
      module: this.program.blocks[instruction.block]?.name ?? `block ${instruction.block}`,
      tensor,
      block: instruction.block,
      micro: instruction.micro,
      position: this.position,
      instruction: instructionText(instruction),
      ...elements,
    };
  }
}
