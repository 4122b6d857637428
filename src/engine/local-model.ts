import { TrainyardError } from '../base/errors.js';
import { quote } from '../base/printable.js';
import type { Model } from '../nn/block.js';
import { divideByNames } from '../nn/divide-by-names.js';
import { canShareHeads } from '../nn/shared-attention.js';
import type { TensorAxis } from '../nn/tensor-axis.js';
import type { ResolvedConfig } from './config.js';
import { inForm, type ModelSource, type TrainingForm } from './model-source.js';

/** The keys of a configuration that say what a rank has of a model. */
type LocalForm = TrainingForm & Pick<ResolvedConfig, 'sequence_parallel_size' | 'tensor_parallel'>;

/**
 * What one rank computes of a source's model, in the form that it is trained in: all of it, or its part of every matrix.
 *
 * @param axis over which matrices are divided; undefined: they are whole
 * @throws TrainyardError CONFIG_CONFLICT for a model that cannot be divided so, or whose attention cannot
 */
export function localModel(source: ModelSource, form: LocalForm, axis: TensorAxis | undefined): Model {
  const model = axis === undefined ? source.model : dividedModel(source, form, axis);
  demandSharedHeads(model, form.sequence_parallel_size);
  return model;
}

function dividedModel({ model }: ModelSource, form: LocalForm, axis: TensorAxis): Model {
  const { layer_specs: rules, strict_mode: isStrict } = form.tensor_parallel.partition_config;
  const { divided } = model;
  if (divided !== undefined && rules.length > 0) throw placedTwice(model);
  if (divided !== undefined) return inForm({ model: divided(axis) }, form).model;
  if (rules.length === 0) throw indivisible(model, axis);
  // Its form is that of the source: the rules go by the names of parameters, which halves share.
  return divideByNames(model, { rules, isStrict }, axis);
}

function placedTwice({ architecture }: Model): TrainyardError {
  return new TrainyardError('CONFIG_CONFLICT', {
    what: 'The model has a table that says how its parameters are divided.',
    where: 'tensor_parallel.partition_config.layer_specs',
    expected: 'rules only for a model without one',
    got: `rules for ${quote(architecture)}`,
    cure: 'Remove partition_config.',
  });
}

function demandSharedHeads({ architecture, attentionHeads: heads }: Model, ranks: number): void {
  if (ranks === 1 || (heads !== undefined && canShareHeads(heads, ranks))) return;
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: 'The model cannot work on sequences that several ranks share.',
    where: 'sequence_parallel_size',
    expected: `attention heads of queries that ${ranks} ranks can divide, and of keys and values a divisor or a multiple of ${ranks}`,
    got:
      heads === undefined
        ? `${quote(architecture)}, which does not say how many it has (attentionHeads)`
        : `${heads.query} heads of queries and ${heads.keyValue} of keys and values on a rank`,
    cure: 'Choose another sequence_parallel_size; 1 leaves sequences whole.',
  });
}

function indivisible({ architecture }: Model, { size }: TensorAxis): TrainyardError {
  return new TrainyardError('CONFIG_CONFLICT', {
    what: 'The model does not say how its matrices are divided over ranks.',
    where: 'mesh.tensor',
    expected: 'a model with `divided`, as every one that a configuration can name, or rules by names',
    got: `${quote(architecture)} over ${size} ranks`,
    cure: 'Set mesh.tensor to 1, give the model `divided`, or write tensor_parallel.partition_config.layer_specs.',
  });
}
