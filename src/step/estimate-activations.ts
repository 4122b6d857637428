import type { ParameterDeclaration } from '../nn/parameter.js';

/** What a block keeps and hands on for one micro-batch, in bytes. */
export interface ActivationEstimate {
  readonly activationBytes: number;
  readonly outputBytes: number;
}

/**
 * Estimates from parameter shapes alone what each block keeps from forward to backward. A matrix
 * [out, in] keeps its input and its output for every token, a vector [size] (norm, bias) what it is applied
 * to. The first block only looks rows up, so that a matrix there keeps just the row. What attention keeps
 * beside its projections is left out: fused kernels store no scores.
 */
export function estimateActivations(
  blocks: readonly { readonly parameters: readonly Pick<ParameterDeclaration, 'shape'>[] }[],
  tokens: number,
  bytesPerElement: number,
): readonly ActivationEstimate[] {
  const hidden = blocks[0]?.parameters[0]?.shape.at(-1) ?? 0;
  return blocks.map(({ parameters }, index) => {
    const perToken = parameters
      .map(({ shape }) => (index === 0 ? (shape.at(-1) ?? 0) : shape.reduce((sum, size) => sum + size, 0)))
      .reduce((sum, size) => sum + size, 0);
    return {
      activationBytes: perToken * tokens * bytesPerElement,
      outputBytes: hidden * tokens * bytesPerElement,
    };
  });
}
