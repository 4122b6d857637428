import { computeEffects } from './effects/compute-effects.js';
import type { Effects, EffectTable } from './effects/effect-table.js';
import { exchangeEffects } from './effects/exchange-effects.js';
import { hostEffects } from './effects/host-effects.js';
import { pipelineEffects } from './effects/pipeline-effects.js';
import { replicaEffects } from './effects/replica-effects.js';
import { compared, gradientNorm, merged, update } from './effects/value-names.js';
import type { Instruction, Operation } from './instruction.js';
import type { Program } from './program.js';

/** The one place that knows what each operation needs, makes and frees. */
const EFFECTS: EffectTable = {
  ...computeEffects,
  ...exchangeEffects,
  ...hostEffects,
  ...pipelineEffects,
  ...replicaEffects,
};

/** What the instruction needs, makes and frees as a part of the program. */
export function effectsOf<Op extends Operation>(instruction: Instruction<Op>, program: Program): Effects {
  return EFFECTS[instruction.op](instruction, program);
}

/** The facts that the program is for. */
export function goalValues({ goal, synchronizes }: Program): readonly string[] {
  if (goal === 'gradients') return [gradientNorm];
  return synchronizes ? [update, merged, compared] : [update];
}
