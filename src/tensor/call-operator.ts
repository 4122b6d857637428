import type { NativeArgument, NativeResult } from '../native/binding.js';
import { native } from '../native/native.js';
import { Tensor } from './tensor.js';

/** A value that any operator may take, by its schema. Undefined takes the schema's default. */
export type OperatorArgument =
  | Tensor
  | readonly (Tensor | null)[]
  | readonly (number | boolean)[]
  | number
  | bigint
  | boolean
  | string
  | null
  | undefined;

/** What an operator gives back: tensors, plain values, or lists of them. In-place operators give nothing. */
export type OperatorResult =
  | Tensor
  | number
  | boolean
  | string
  | null
  | undefined
  | readonly OperatorResult[];

/**
 * Calls any operator of libtorch's dispatcher by its name, for what has no typed method:
 * `callOperator('aten::lerp.Scalar', a, b, 0.5)`. Arguments stand in the schema's order; dtypes, layouts and
 * memory formats are libtorch's numbers.
 *
 * @throws TrainyardError TENSOR_OPERATOR when there is no such operator or it refuses its arguments.
 */
export function callOperator(name: string, ...values: readonly OperatorArgument[]): OperatorResult {
  const [operator = '', overload = ''] = name.split('.');
  const number = native.findOperator(operator, overload);
  // Which numbers are handles only the schema knows.
  const schema = native.operatorSchema(number);
  const kinds = resultKinds(schema);
  const result = call(number, values, schema.includes('!'));
  if (kinds.length <= 1) return fromNative(result, kinds[0] ?? '');
  return (result as readonly NativeResult[]).map((each, index) => fromNative(each, kinds[index] ?? ''));
}

/** The names of every operator that this libtorch has, as "namespace::name.overload". */
export function operatorNames(): readonly string[] {
  return native.listOperators();
}

/** An operator that writes to its arguments may give them another shape (`unsqueeze_`) or dtype (`set_data`). */
function call(number: number, values: readonly OperatorArgument[], writes: boolean): NativeResult {
  try {
    return native.call(number, ...values.map(toNative));
  } finally {
    if (writes) {
      for (const value of values.flat()) {
        if (value instanceof Tensor) value.forgetMetadata();
      }
    }
  }
}

function toNative(value: OperatorArgument): NativeArgument {
  if (value instanceof Tensor) return value.handle;
  if (Array.isArray(value)) return value.map((each) => (each instanceof Tensor ? each.handle : each));
  return value as NativeArgument;
}

function fromNative(value: NativeResult, kind: string): OperatorResult {
  if (!kind.startsWith('Tensor') || value === null || value === undefined) return value as OperatorResult;
  if (Array.isArray(value)) return value.map((each) => fromNative(each, 'Tensor'));
  return new Tensor(value as number);
}

/** "… -> (Tensor values, Tensor indices)" as ["Tensor values", "Tensor indices"]. */
function resultKinds(schema: string): readonly string[] {
  const result = schema.slice(schema.lastIndexOf(' -> ') + 4);
  const inner = result.startsWith('(') ? result.slice(1, -1) : result;
  return inner === '' ? [] : inner.split(', ');
}
