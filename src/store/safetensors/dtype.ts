import { DTYPES, type DType } from '../../tensor/dtype.js';

/**
 * Every element type a safetensors file may name, with its width in bits, in the order of the format's own
 * list: writers lay tensors out from the last of it to the first, so that each stays aligned.
 */
const BITS = {
  BOOL: 8,
  F4: 4,
  F6_E2M3: 6,
  F6_E3M2: 6,
  U8: 8,
  I8: 8,
  F8_E5M2: 8,
  F8_E4M3: 8,
  F8_E8M0: 8,
  F8_E4M3FNUZ: 8,
  F8_E5M2FNUZ: 8,
  I16: 16,
  U16: 16,
  F16: 16,
  BF16: 16,
  I32: 32,
  U32: 32,
  F32: 32,
  C64: 64,
  F64: 64,
  I64: 64,
  U64: 64,
} as const satisfies Record<string, number>;

/** An element type by its name in a safetensors header. */
export type SafetensorsDtype = keyof typeof BITS;

const ENGINE_NAMES: ReadonlyMap<string, DType> = new Map(
  Object.entries(DTYPES).map(([name, { safetensors }]) => [safetensors, name as DType]),
);

const RANKS: ReadonlyMap<string, number> = new Map(Object.keys(BITS).map((name, rank) => [name, rank]));

export function isSafetensorsDtype(name: string): name is SafetensorsDtype {
  return RANKS.has(name);
}

export function bitsOf(dtype: SafetensorsDtype): number {
  return BITS[dtype];
}

/** Place in the format's list; a greater one is at least as strictly aligned. */
export function alignmentRank(dtype: SafetensorsDtype): number {
  return RANKS.get(dtype) ?? 0;
}

/** The engine's name, or undefined for a type that the engine has no tensors of. */
export function engineDtypeOf(dtype: SafetensorsDtype): DType | undefined {
  return ENGINE_NAMES.get(dtype);
}
