import type { Mesh } from '../../src/comm/mesh.js';
import { type Expected, readJson } from '../models-harness.js';

/** One way of training a fixture on a mesh. */
export interface MeshJob {
  readonly folder: string;
  readonly mesh: Mesh;
  readonly stage: 0 | 1 | 2 | 3;
  /** Of several stages. */
  readonly schedule: 'gpipe' | '1f1b' | 'interleaved' | 'zero-bubble';
  readonly sequenceParallel: boolean;
}

/** How far the losses and norms of a job are from the answers, relative: the worst of its steps. */
export interface MeshOutcome {
  readonly lossError: number;
  readonly normError: number;
}

const MOST_RANKS = 8;
const SIZES = [1, 2, 3, 4, 5, 6, 7, 8];
const STAGES = [0, 1, 2, 3] as const;
const SCHEDULES = ['gpipe', '1f1b', 'interleaved', 'zero-bubble'] as const;

/** Every mesh of up to 8 ranks that has more than a data axis, in every way. */
export function allMeshJobs(folder: string): readonly MeshJob[] {
  const meshes = SIZES.flatMap((pipeline) =>
    SIZES.flatMap((data) => SIZES.map((tensor): Mesh => ({ pipeline, data, tensor }))),
  ).filter(({ pipeline, data, tensor }) => pipeline * data * tensor <= MOST_RANKS && pipeline * tensor > 1);
  return meshes.flatMap((mesh) =>
    STAGES.filter((stage) => stage === 0 || mesh.data > 1).flatMap((stage) =>
      SCHEDULES.filter((schedule) => mesh.pipeline > 1 || schedule === '1f1b').flatMap((schedule) =>
        (mesh.tensor > 1 ? [false, true] : [false]).map((sequenceParallel) => ({
          folder,
          mesh,
          stage,
          schedule,
          sequenceParallel,
        })),
      ),
    ),
  );
}

export function meshJobName({ mesh, stage, schedule, sequenceParallel }: MeshJob): string {
  const { pipeline, data, tensor } = mesh;
  const positions = sequenceParallel ? ', positions divided' : '';
  return `${pipeline}×${data}×${tensor} stage ${stage} ${schedule}${positions}`;
}

/** Why a model is too small for a mesh; undefined where it is not. */
export function whyImpossible({ folder, mesh, schedule, sequenceParallel }: MeshJob): string | undefined {
  const { batch_size: rows } = readJson<Expected>(folder, 'expected.json');
  const config = readJson<Readonly<Record<string, number | undefined>>>(folder, 'config.json');
  const heads = config.num_attention_heads ?? config.n_head ?? 1;
  const keyValueHeads = config.num_key_value_heads ?? heads;
  const blocks = 2 + (config.num_hidden_layers ?? config.n_layer ?? 0);
  const parts = mesh.pipeline * (schedule === 'interleaved' ? 2 : 1);
  if (parts > blocks) return 'blocks';
  if (rows % mesh.data !== 0) return 'rows';
  if (heads % mesh.tensor !== 0) return 'heads';
  if (keyValueHeads % mesh.tensor !== 0 && mesh.tensor % keyValueHeads !== 0) return 'key and value heads';
  return sequenceParallel && sequenceLength(folder) % mesh.tensor !== 0 ? 'positions' : undefined;
}

function sequenceLength(folder: string): number {
  return readJson<{ readonly sequence_length?: number }>(folder, 'expected.json').sequence_length ?? 1;
}
