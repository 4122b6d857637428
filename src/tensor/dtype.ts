import { TrainyardError } from '../base/errors.js';

/**
 * Element types, by PyTorch's names, with libtorch's scalar-type code, bytes per element and the name that
 * safetensors uses.
 */
export const DTYPES = {
  uint8: { code: 0, bytes: 1, safetensors: 'U8' },
  int8: { code: 1, bytes: 1, safetensors: 'I8' },
  int16: { code: 2, bytes: 2, safetensors: 'I16' },
  int32: { code: 3, bytes: 4, safetensors: 'I32' },
  int64: { code: 4, bytes: 8, safetensors: 'I64' },
  float16: { code: 5, bytes: 2, safetensors: 'F16' },
  float32: { code: 6, bytes: 4, safetensors: 'F32' },
  float64: { code: 7, bytes: 8, safetensors: 'F64' },
  bool: { code: 11, bytes: 1, safetensors: 'BOOL' },
  bfloat16: { code: 15, bytes: 2, safetensors: 'BF16' },
} as const satisfies Record<
  string,
  { readonly code: number; readonly bytes: number; readonly safetensors: string }
>;

/** The type of a tensor's elements. */
export type DType = keyof typeof DTYPES;

/** Where a tensor lives. */
export type Device = 'cpu' | 'cuda' | `cuda:${number}`;

/** libtorch's number for a dtype; undefined stays undefined, so that schema defaults apply. */
export function dtypeCode(dtype: DType | undefined): number | undefined {
  return dtype === undefined ? undefined : DTYPES[dtype].code;
}

/** The dtype with libtorch's number `code`. */
export function dtypeOfCode(code: number): DType {
  for (const [name, { code: candidate }] of Object.entries(DTYPES)) {
    if (candidate === code) return name as DType;
  }
  throw new TrainyardError('TENSOR_OPERATOR', {
    what: `A tensor has the element type number ${code}, which has no name here.`,
    expected: Object.keys(DTYPES).join(', '),
  });
}
