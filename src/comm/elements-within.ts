import { noGrad } from '../tensor/autograd.js';
import { scope } from '../tensor/tensor.js';
import { slowest } from './measure-together.js';
import type { ProcessGroup } from './process-group.js';

/** Where messages begin to grow: what has fewer elements takes no less time. */
const LEAST = 1024;

/** How often a sum is made that took too long: noise only adds. */
const TRIALS = 3;

/**
 * How many fp32 elements the ranks of a group sum in less than a time: the largest power of two, or 0 where no sum takes so
 * little. Found by summing more and more, as the group does it, which takes some twenty times as long at most. Every
 * rank must call it; all get the same.
 *
 * @param enough no more elements than that are of use
 */
export function elementsWithin(group: ProcessGroup, seconds: number, enough: number): number {
  if (group.worldSize === 1) return 0;
  const isWithin = (elements: number): boolean =>
    scope(() => {
      const values = group.allocate(elements, 'float32');
      const sum = (): void => group.allReduce(values, 'sum').wait();
      return Array.from({ length: TRIALS }).some(() => slowest(group, sum) < seconds);
    });
  return noGrad(() => {
    let within = 0;
    for (let elements = LEAST; within < enough && isWithin(elements); elements *= 2) within = elements;
    return within;
  });
}
