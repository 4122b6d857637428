import { TrainyardError } from '../base/errors.js';
import type { Block } from './block.js';
import type { SharedParameter } from './parameter.js';
import type { Division } from './tensor-axis.js';

/** Where one parameter lies in the flat buffer of its kind. */
export interface FlatSlot {
  /** Full Hugging Face name. */
  readonly name: string;
  /** Its name inside its block. */
  readonly localName: string;
  /** Full name of the parameter that owns the memory: its own name, unless it is tied to another one. */
  readonly owner: string;
  /** Which buffer: trainable parameters and frozen ones never share one. */
  readonly trainable: boolean;
  /** First element. */
  readonly offset: number;
  readonly elements: number;
  readonly shape: readonly number[];
  /** What of a parameter it is that a tensor axis divides. */
  readonly division?: Division;
  /** Other stages of a pipeline have it too. */
  readonly shared?: SharedParameter;
}

/** The flat memory of a model: every parameter's place, worked out before anything is allocated. */
export interface FlatLayout {
  /** One list per block, in the order of its declarations; a tied parameter has its owner's place. */
  readonly blocks: readonly (readonly FlatSlot[])[];
  /** Lengths of the two buffers, padding between blocks included. */
  readonly trainableElements: number;
  readonly frozenElements: number;
  /** Per block, its part of the trainable buffer with the padding behind it; together they are the buffer. */
  readonly ranges: readonly FlatRange[];
}

/** Elements [start, end) of a flat buffer. */
export interface FlatRange {
  readonly start: number;
  readonly end: number;
}

/**
 * Elements after the gradients in the gradient buffer: [sum of scaled losses, number of target tokens, votes
 * to stop]. They ride with a gradient reduction, so that agreeing on them needs no collective of its own.
 */
export const TALLY_ELEMENTS = 3;

/** A block starts on a cache line: 16 elements of four bytes. Inside a block nothing is padded. */
const BLOCK_ALIGNMENT = 16;

/**
 * Lays the parameters of a model end to end, in the order of blocks and declarations. Inside a block there
 * is no padding, so that parameters declared one after another can be used as one (`BlockParameters.joined`).
 *
 * @param isFrozen which parameters are not trained, beside those that say so of themselves
 * @param divisor each block's range can be divided into so many equal slices, for as many ranks
 * @throws TrainyardError MODEL_INVALID for a name used twice and for a tie to nothing, to a tied parameter
 * or to one of another shape.
 */
export function planFlatLayout(
  blocks: readonly Pick<Block, 'name' | 'parameterPrefix' | 'parameters'>[],
  isFrozen: (name: string) => boolean = () => false,
  divisor = 1,
): FlatLayout {
  const alignments = { trainable: leastCommonMultiple(BLOCK_ALIGNMENT, divisor), frozen: BLOCK_ALIGNMENT };
  const lengths = { trainable: 0, frozen: 0 };
  const starts: number[] = [];
  const names = new Set<string>();
  const owners = new Map<string, FlatSlot>();
  for (const block of blocks) {
    lengths.trainable = align(lengths.trainable, alignments.trainable);
    lengths.frozen = align(lengths.frozen, alignments.frozen);
    starts.push(lengths.trainable);
    for (const declaration of block.parameters) {
      const name = fullName(block, declaration.name);
      if (names.has(name)) throw invalid(`Two parameters are called "${name}".`, name);
      names.add(name);
      if (declaration.tiedTo !== undefined) continue;
      const trainable = !(declaration.frozen === true || isFrozen(name));
      const kind = trainable ? 'trainable' : 'frozen';
      const elements = declaration.shape.reduce((product, size) => product * size, 1);
      const slot = {
        name,
        localName: declaration.name,
        owner: name,
        trainable,
        offset: lengths[kind],
        elements,
        shape: declaration.shape,
        ...(declaration.division && { division: declaration.division }),
        ...(declaration.shared && { shared: declaration.shared }),
      };
      lengths[kind] += elements;
      owners.set(name, slot);
    }
  }
  const trainableElements = align(lengths.trainable, alignments.trainable);
  return {
    blocks: blocks.map((block) =>
      block.parameters.map((declaration) => {
        const name = fullName(block, declaration.name);
        const slot = owners.get(declaration.tiedTo ?? name);
        if (slot === undefined) {
          throw invalid(`The parameter is tied to "${declaration.tiedTo}", which owns no memory.`, name);
        }
        if (slot.shape.join() !== declaration.shape.join()) {
          throw invalid(
            `The parameter is tied to "${slot.name}", which has another shape.`,
            name,
            `[${slot.shape.join(', ')}]`,
            `[${declaration.shape.join(', ')}]`,
          );
        }
        return { ...slot, name, localName: declaration.name };
      }),
    ),
    trainableElements,
    frozenElements: align(lengths.frozen, alignments.frozen),
    ranges: starts.map((start, index) => ({ start, end: starts[index + 1] ?? trainableElements })),
  };
}

/** The Hugging Face name of a parameter: its block's prefix before its own. */
export function fullName(
  { name, parameterPrefix = name }: Pick<Block, 'name' | 'parameterPrefix'>,
  parameter: string,
): string {
  return parameterPrefix === '' ? parameter : `${parameterPrefix}.${parameter}`;
}

function align(elements: number, alignment: number): number {
  return Math.ceil(elements / alignment) * alignment;
}

function leastCommonMultiple(first: number, second: number): number {
  const greatestCommonDivisor = (a: number, b: number): number =>
    b === 0 ? a : greatestCommonDivisor(b, a % b);
  return (first / greatestCommonDivisor(first, second)) * second;
}

function invalid(what: string, where: string, expected?: string, got?: string): TrainyardError {
  return new TrainyardError('MODEL_INVALID', {
    what,
    where,
    ...(expected !== undefined && { expected }),
    ...(got !== undefined && { got }),
  });
}
