/** Tensors, autograd and every operator of libtorch. */
export {
  applyFunction,
  backward,
  type CustomFunction,
  enableGrad,
  gradientsOf,
  noGrad,
  onGradient,
} from './autograd.js';
export { callOperator, type OperatorArgument, type OperatorResult, operatorNames } from './call-operator.js';
export { fromBytes, tensor } from './create.js';
export type { Device, DType } from './dtype.js';
export * from './generated/functions.js';
export { manualSeed, randomState, setRandomState } from './random.js';
export { Scope } from './scope.js';
export { keep, liveTensors, scope, Tensor } from './tensor.js';
export { setThreads, threads } from './threads.js';
