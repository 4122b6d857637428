import { TrainyardError } from '../base/errors.js';
import type { Block, Model } from './block.js';
import { divideDeclarations, type PlacementTable } from './divide.js';
import { fullName } from './flat-layout.js';
import type { ParameterDeclaration } from './parameter.js';
import type { Placement, TensorAxis } from './tensor-axis.js';

/** How the parameters lie whose full names match one of some patterns; of several rules the first that matches counts. */
export interface NamedPlacement {
  /** Regular expressions, which match anywhere in a name. */
  readonly patterns: readonly string[];
  readonly partition_type: 'column' | 'row' | 'vocabulary' | 'skip';
  /** Of matrices that are several side by side (queries, keys and values as one): how many, each of which is divided. */
  readonly sections?: number | undefined;
}

/** What is known of the parameters of a model that has no table of its own. */
export interface NamedPlacements {
  readonly rules: readonly NamedPlacement[];
  /** A parameter that no rule matches is an error; otherwise it is whole on every rank. */
  readonly isStrict: boolean;
}

/**
 * A model whose blocks are made of `linear`, `embedding` and `linearCrossEntropy`, divided over the ranks of a tensor axis
 * by the names of its parameters (DeepSpeed: AutoTP, `partition_config`). Those functions exchange what they must by
 * the way in which their weights lie; whatever else its blocks do must go by the shapes that they find.
 *
 * @throws TrainyardError CONFIG_CONFLICT for rules that match nothing, parameters that nothing matches where that is
 * strict, and sizes that do not divide
 */
export function divideByNames(model: Model, placements: NamedPlacements, axis: TensorAxis): Model {
  demandMatches(model, placements);
  return { ...model, blocks: model.blocks.map((block) => dividedBlock(block, placements, axis)) };
}

function dividedBlock(block: Block, placements: NamedPlacements, axis: TensorAxis): Block {
  const { halves, joins, parameterPrefix } = block;
  const [first, second] = (halves ?? []).map((half) => dividedBlock(half, placements, axis));
  return {
    name: block.name,
    parameters: divideDeclarations(block.parameters, tableOf(block, placements), axis),
    forward: (parameters, input, context) => block.forward(parameters, input, context),
    ...(parameterPrefix !== undefined && { parameterPrefix }),
    ...(joins && { joins }),
    ...(first && second && { halves: [first, second] }),
  };
}

function tableOf(block: Block, { rules }: NamedPlacements): PlacementTable {
  return Object.fromEntries(
    block.parameters.map((declaration) => {
      const rule = ruleFor(fullName(block, declaration.name), rules);
      return [declaration.name, rule === undefined ? WHOLE : placementOf(declaration, rule)];
    }),
  );
}

const WHOLE: Placement = { by: 'replicated' };

/** Sizes must divide: what blocks make of parts that zeros fill up is not known here. */
function placementOf({ shape, linear }: ParameterDeclaration, rule: NamedPlacement): Placement {
  const [outputs, inputs] = linear === 'inputs × outputs' ? [1, 0] : [0, 1];
  const { partition_type: type, sections = 1 } = rule;
  switch (type) {
    case 'column':
      return { by: 'column', sections, heads: (shape[shape.length > 1 ? outputs : 0] ?? 0) / sections };
    case 'row':
      return { by: 'row', heads: shape[inputs] ?? 0 };
    case 'vocabulary':
      return { by: 'vocabulary' };
    case 'skip':
      return WHOLE;
    default:
      return type satisfies never;
  }
}

function ruleFor(name: string, rules: readonly NamedPlacement[]): NamedPlacement | undefined {
  return rules.find(({ patterns }) => patterns.some((pattern) => new RegExp(pattern, 'u').test(name)));
}

function demandMatches({ blocks }: Model, { rules, isStrict }: NamedPlacements): void {
  const names = blocks.flatMap((block) => block.parameters.map(({ name }) => fullName(block, name)));
  const idle = rules.flatMap(({ patterns }) => patterns).find((pattern) => !matchesAny(pattern, names));
  if (idle !== undefined) {
    throw new TrainyardError('CONFIG_CONFLICT', {
      what: 'A pattern matches no parameter of the model.',
      where: 'tensor_parallel.partition_config.layer_specs',
      expected: `a pattern of one of ${names.length} names (${names.slice(0, SHOWN).join(', ')} …)`,
      got: idle,
      cure: 'Write it as the names are, or remove it.',
    });
  }
  const unmatched = names.filter((name) => ruleFor(name, rules) === undefined);
  if (!isStrict || unmatched.length === 0) return;
  throw new TrainyardError('CONFIG_CONFLICT', {
    what: `No rule says how ${unmatched.length} of ${names.length} parameters lie on the tensor axis.`,
    where: 'tensor_parallel.partition_config.layer_specs',
    expected: 'a pattern for every name, while strict_mode is true',
    got: unmatched.slice(0, SHOWN).join(', ') + (unmatched.length > SHOWN ? ' …' : ''),
    cure: 'Add a rule with partition_type "skip" for those that are whole on every rank.',
  });
}

/** Names in a message. */
const SHOWN = 6;

function matchesAny(pattern: string, names: readonly string[]): boolean {
  const expression = new RegExp(pattern, 'u');
  return names.some((name) => expression.test(name));
}
