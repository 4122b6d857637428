import type { PipelineShape, Turn } from './schedules/turn.js';

/**
 * What passes between two chunks that follow each other. Chunks are counted through the whole model, from stage to stage:
 * chunk c of stage s is the (c p + s)-th.
 */
export interface StageMessage {
  readonly memory: 'output' | 'gradient';
  /** The number of the chunk that makes the output. */
  readonly border: number;
  readonly micro: number;
  /** The stage on the other side. */
  readonly peer: number;
}

/** What a turn needs from another stage; nothing at the ends of the model. */
export function incoming(turn: Turn, shape: PipelineShape): StageMessage | undefined {
  const { stages, chunks, stage } = shape;
  const place = turn.chunk * stages + stage;
  const { micro } = turn;
  switch (turn.kind) {
    case 'forward':
      return place === 0
        ? undefined
        : { memory: 'output', border: place - 1, micro, peer: (stage + stages - 1) % stages };
    case 'backward':
    case 'backward-input':
      return place === stages * chunks - 1
        ? undefined
        : { memory: 'gradient', border: place, micro, peer: (stage + 1) % stages };
    case 'backward-weights':
      return undefined;
    default:
      return turn.kind satisfies never;
  }
}

/** What a turn makes for another stage. */
export function outgoing(turn: Turn, shape: PipelineShape): StageMessage | undefined {
  const { stages, chunks, stage } = shape;
  const place = turn.chunk * stages + stage;
  const { micro } = turn;
  switch (turn.kind) {
    case 'forward':
      return place === stages * chunks - 1
        ? undefined
        : { memory: 'output', border: place, micro, peer: (stage + 1) % stages };
    case 'backward':
    case 'backward-input':
      return place === 0
        ? undefined
        : { memory: 'gradient', border: place - 1, micro, peer: (stage + stages - 1) % stages };
    case 'backward-weights':
      return undefined;
    default:
      return turn.kind satisfies never;
  }
}
