import { TrainyardError } from '../base/errors.js';
import type { BlockParameters } from '../nn/block.js';
import type { FlatSlot } from '../nn/flat-layout.js';
import { noGrad } from '../tensor/autograd.js';
import { scope, type Tensor } from '../tensor/tensor.js';
import type { TrainingMemory } from './training-memory.js';

/**
 * Whole parameters for a time (DeepSpeed: GatheredParameters in zero/partition_parameters.py). What is written into
 * them reaches the ranks that own it when the time is over; nothing else may change parameters meanwhile.
 */
export class GatheredParameters {
  readonly #memory: TrainingMemory;
  readonly #areRemade: boolean;
  #isOpen = false;

  /** @param areRemade blocks compute with parameters that each step makes anew, from weights kept apart */
  constructor(memory: TrainingMemory, areRemade: boolean) {
    this.#memory = memory;
    this.#areRemade = areRemade;
  }

  /**
   * Calls `body` with the parameters of these names.
   *
   * @throws TrainyardError PARAMETER_UNKNOWN; USAGE inside another call, and for a body that returns a promise.
   */
  during<Result>(names: readonly string[], body: (tensors: ReadonlyMap<string, Tensor>) => Result): Result {
    this.demandClosed('engine.gathered');
    this.#isOpen = true;
    try {
      return scope(() => this.#lend(names, body));
    } finally {
      this.#isOpen = false;
    }
  }

  /** @throws TrainyardError USAGE while parameters are gathered. */
  demandClosed(operation: string): void {
    if (!this.#isOpen) return;
    throw new TrainyardError('USAGE', {
      what: `${operation} was called inside engine.gathered, which would undo what it changes.`,
      cure: 'Let the body of engine.gathered end first; one call takes several names.',
    });
  }

  /** The blocks' parameters, of which those that are remade are not there between steps. */
  blocks(): readonly BlockParameters[] {
    const { layout, blocks } = this.#memory.parameters;
    if (!this.#areRemade) return blocks;
    return blocks.map((parameters, index) => {
      const slots = new Map(layout.blocks[index]?.map((slot) => [slot.localName, slot]));
      const present = (name: string): string => {
        const slot = slots.get(name);
        if (slot?.trainable) throw outOfDate(slot);
        return name;
      };
      return {
        get: (name) => parameters.get(present(name)),
        joined: (names) => parameters.joined(names.map(present)),
      };
    });
  }

  #lend<Result>(names: readonly string[], body: (tensors: ReadonlyMap<string, Tensor>) => Result): Result {
    const slots = names.map((name) => this.#memory.slot(name));
    const tensors = new Map(slots.map((slot) => [slot.name, this.#memory.read(slot)]));
    const result = noGrad(() => body(tensors));
    if (result instanceof Promise) {
      throw new TrainyardError('USAGE', {
        what: 'The body of engine.gathered returned a promise; the parameters are whole only until it returns.',
        cure: 'Take what is needed (toArray, toBytes) inside the body, and wait for other things outside.',
      });
    }
    for (const slot of slots) {
      const tensor = tensors.get(slot.name);
      if (tensor !== undefined && slot.trainable) this.#memory.write(slot, tensor);
    }
    return result;
  }
}

function outOfDate({ name, owner }: FlatSlot): TrainyardError {
  return new TrainyardError('PARAMETER_RELEASED', {
    what: 'A parameter was used between steps, when what blocks compute with is out of date or not there.',
    where: name,
    cure: `read or write it inside engine.gathered(['${owner}'], …)`,
  });
}
