import { compileProgram, type ProgramInputs } from '../src/engine/compile-program.js';
import { planFlatLayout } from '../src/nn/flat-layout.js';
import type { Program } from '../src/step/program.js';

/** A model of a few blocks with one parameter each, as tests compile it. */
export interface Sample {
  /** Elements of each block. */
  readonly sizes: readonly number[];
  /** All of them along the data axis. */
  readonly ranks: number;
  readonly micros: number;
  readonly overlap: boolean;
  readonly zero: Pick<NonNullable<ProgramInputs['zero']>, 'stage' | 'bucketElements' | 'sameOrder'>;
}

/** The programs of all ranks. */
export function compileSample(
  { sizes, ranks, micros, overlap, zero }: Sample,
  beside: Partial<ProgramInputs>,
): readonly Program[] {
  const initializer = { kind: 'constant', value: 0 } as const;
  const blocks = sizes.map((elements, index) => ({
    name: `block${index}`,
    parameters: [{ name: 'p', shape: [elements], initializer }],
  }));
  const layout = planFlatLayout(blocks, undefined, ranks);
  return Array.from({ length: ranks }, (_, rank) =>
    compileProgram({
      rank,
      mesh: { pipeline: 1, data: ranks, tensor: 1 },
      goal: 'update',
      microBatches: micros,
      blocks: blocks.map(({ name }) => ({ name, activationBytes: 100, outputBytes: 10 })),
      layout,
      bytesPerElement: 4,
      batchBytes: 16,
      optimizerBytes: layout.trainableElements * 8,
      schedule: { maximumNorm: 1 },
      recomputed: new Set(),
      gradients: { bucketElements: zero.bucketElements, overlap },
      zero: {
        ...zero,
        overlap,
        persistenceThreshold: 0,
        mostPersistentElements: 0,
        mostReuseDistance: 0,
        prefetchElements: 100,
        mostLiveElements: 200,
      },
      precision: { dtype: 'float32' },
      ...beside,
    }),
  );
}
