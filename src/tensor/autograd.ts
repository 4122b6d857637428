import type { Handle, NativeObject } from '../native/binding.js';
import { native } from '../native/native.js';
import { findOperator } from './operator.js';
import { Scope } from './scope.js';
import { Tensor } from './tensor.js';

const DETACH = findOperator('aten::detach', '');

/** Runs `body` without recording for backward. */
export function noGrad<Result>(body: () => Result): Result {
  return withGrad(false, body);
}

/** Runs `body` with recording for backward, inside `noGrad` too. */
export function enableGrad<Result>(body: () => Result): Result {
  return withGrad(true, body);
}

function withGrad<Result>(enabled: boolean, body: () => Result): Result {
  const before = native.setGradEnabled(enabled);
  try {
    return body();
  } finally {
    native.setGradEnabled(before);
  }
}

/**
 * Accumulates the gradients of `outputs` into the `.grad` of the leaves they came from. `gradients` are those
 * of the outputs themselves; null means one, for a scalar. Hooks run on this thread meanwhile.
 */
export function backward(
  outputs: readonly Tensor[],
  gradients: readonly (Tensor | null)[] = outputs.map(() => null),
  options: { readonly retainGraph?: boolean } = {},
): void {
  native.backward(outputs.map(handleOf), gradients.map(handleOrNull), options.retainGraph ?? false);
}

/** The gradients of `outputs` with respect to `inputs`, without touching any `.grad`. */
export function gradientsOf(
  outputs: readonly Tensor[],
  inputs: readonly Tensor[],
  gradients: readonly (Tensor | null)[] = outputs.map(() => null),
  options: { readonly retainGraph?: boolean; readonly allowUnused?: boolean } = {},
): (Tensor | null)[] {
  const results = native.gradients(
    outputs.map(handleOf),
    inputs.map(handleOf),
    gradients.map(handleOrNull),
    options.retainGraph ?? false,
    options.allowUnused ?? false,
  );
  return results.map(tensorOrNull);
}

/**
 * Calls `hook` with the gradient of `tensor` as soon as backward knows it. What the hook returns replaces the
 * gradient. The gradient is the hook's only until it returns. Returns a function that removes the hook, and does
 * nothing once the tensor is gone.
 */
export function onGradient(tensor: Tensor, hook: (gradient: Tensor) => Tensor | undefined): () => void {
  const added = native.addHook(tensor.handle, ([handle]) =>
    inScope(() => {
      const replacement = hook(new Tensor(handle));
      return replacement === undefined ? [] : [handOver(replacement)];
    }),
  );
  return removerOf(added);
}

/** A function of its own, so that whoever keeps it does not keep the hook with all that it sees. */
function removerOf(added: NativeObject): () => void {
  return () => native.removeHook(added);
}

/** A differentiable function written in TypeScript. */
export interface CustomFunction<Inputs extends readonly Tensor[]> {
  /** Computes the outputs without recording, and names what backward needs. */
  forward(inputs: Inputs): { readonly outputs: readonly Tensor[]; readonly saved: readonly Tensor[] };
  /** The gradients of the inputs, one each, null where none flows. */
  backward(saved: readonly Tensor[], gradients: readonly (Tensor | null)[]): readonly (Tensor | null)[];
}

/** Applies a custom function and returns its outputs, which take part in backward. */
export function applyFunction<Inputs extends readonly Tensor[]>(
  definition: CustomFunction<Inputs>,
  inputs: Inputs,
): Tensor[] {
  const { outputs, saved } = noGrad(() => definition.forward(inputs));
  const recorded = native.customFunction(
    inputs.map(handleOf),
    outputs.map(handleOf),
    saved.map(handleOf),
    (savedHandles, gradientHandles) =>
      inScope(() => {
        const results = definition.backward(
          savedHandles.map((handle) => new Tensor(handle)),
          gradientHandles.map(tensorOrNull),
        );
        return results.map((result) => (result === null ? null : handOver(result)));
      }),
  );
  return recorded.map((handle) => new Tensor(handle));
}

/** Runs a callback of the add-on in a scope: what it makes, and what it was given, dies with it. */
function inScope(body: () => readonly (Handle | null)[]): readonly (Handle | null)[] {
  const inner = new Scope();
  try {
    return body();
  } finally {
    inner.close();
  }
}

/** A second handle to a result, outside every scope: the add-on frees it once it has taken the tensor. */
function handOver(tensor: Tensor): Handle {
  return native.call(DETACH, tensor.handle) as Handle;
}

function handleOf(tensor: Tensor): Handle {
  return tensor.handle;
}

function handleOrNull(tensor: Tensor | null): Handle | null {
  return tensor === null ? null : tensor.handle;
}

function tensorOrNull(handle: Handle | null): Tensor | null {
  return handle === null ? null : new Tensor(handle);
}
