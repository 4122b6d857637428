import { TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';
import type { Model } from '../nn/block.js';
import type { TensorAxis } from '../nn/tensor-axis.js';
import { inForm, type ModelSource, type TrainingForm } from './model-source.js';

/**
 * What one rank computes of a source's model, in the form that it is trained in: all of it, or its part of every matrix.
 *
 * @param axis over which matrices are divided; undefined: they are whole
 * @throws TrainyardError CONFIG_CONFLICT for a model that cannot be divided so
 */
export function localModel({ model }: ModelSource, form: TrainingForm, axis: TensorAxis | undefined): Model {
  if (axis === undefined) return model;
  const { divided } = model;
  if (divided === undefined) throw indivisible(model, axis);
  return inForm({ model: divided(axis) }, form).model;
}

function indivisible({ architecture }: Model, { size }: TensorAxis): TrainyardError {
  return new TrainyardError('CONFIG_CONFLICT', {
    what: 'The model does not say how its matrices are divided over ranks.',
    where: 'mesh.tensor',
    expected: 'a model with `divided`, as every one that a configuration can name',
    got: `${quote(architecture)} over ${size} ranks`,
    cure: 'Set mesh.tensor to 1, or give the model a table of placements.',
  });
}
