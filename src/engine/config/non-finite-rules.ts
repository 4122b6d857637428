import type { ConfigRule } from './rule.js';

/** The rules of `non_finite`: one say in what becomes of a step, and all that an action needs. */
export const nonFiniteRules: readonly ConfigRule[] = [
  { keys: ['non_finite', 'bf16', 'bfloat16'], check: checkTwice },
  { keys: ['non_finite', 'redundancy'], check: checkReplicas },
  { keys: ['non_finite', 'output'], check: checkOutput },
  { keys: ['non_finite'], check: checkLimit },
];

type Check = ConfigRule['check'];

function checkTwice(
  { non_finite: policy }: Parameters<Check>[0],
  _: Parameters<Check>[1],
  given: Parameters<Check>[2],
): ReturnType<Check> {
  const section = (['bf16', 'bfloat16'] as const).find(
    (key) => given([key, 'check_grad_overflow']) !== undefined,
  );
  if (policy === undefined || section === undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: [section, 'check_grad_overflow'],
    part: 'key',
    what: `non_finite and ${section}.check_grad_overflow both say what becomes of a step whose gradients are not finite.`,
    cure: 'Remove one of them.',
  };
}

function checkReplicas({ non_finite: policy, redundancy }: Parameters<Check>[0]): ReturnType<Check> {
  if (policy === undefined || policy.action === 'stop' || redundancy?.type !== 'local') return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['non_finite', 'action'],
    part: 'value',
    what: 'Replicas train for themselves, and cannot agree on a step to leave out.',
    expected: '"stop" beside redundancy of type "local"',
    got: `"${policy.action}"`,
  };
}

function checkOutput({ non_finite: policy, output }: Parameters<Check>[0]): ReturnType<Check> {
  if (policy?.action !== 'rewind' || output !== undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['non_finite', 'action'],
    part: 'value',
    what: 'There is nothing to rewind to: the run has no output folder, and so no checkpoints.',
    cure: 'Add "output": "runs/first", for example.',
  };
}

function checkLimit(
  { non_finite: policy }: Parameters<Check>[0],
  _: Parameters<Check>[1],
  given: Parameters<Check>[2],
): ReturnType<Check> {
  if (policy?.action !== 'stop' || given(['non_finite', 'limit']) === undefined) return undefined;
  return {
    code: 'CONFIG_CONFLICT',
    path: ['non_finite', 'limit'],
    part: 'key',
    what: 'non_finite.limit has no effect while non_finite.action is "stop": the first such step ends the run.',
    cure: 'Remove it.',
  };
}
