import { z } from 'zod';
import { TrainyardError } from '../base/errors.js';
import type { JsonValue } from '../base/json-document.js';
import { positiveInteger, positiveNumber } from '../base/schema.js';
import type { ProcessGroup } from '../comm/process-group.js';
import type { FlatSlot } from '../nn/flat-layout.js';
import type { Program } from '../step/program.js';
import type { PieceSource } from '../store/checkpoint/write.js';
import type { LoadedCheckpoint } from '../store/checkpoint.js';
import { noGrad } from '../tensor/autograd.js';
import { zeros } from '../tensor/generated/functions.js';
import { scope } from '../tensor/tensor.js';
import type { TrainingErrors } from './error-memory.js';
import { type ParameterSource, savedSource } from './fill-parameters.js';
import { pieceFrom } from './own-pieces.js';

/** What a checkpoint keeps of errors beside the tensors: under how many ranks and which loss scale they were made. */
const EXTRA = 'error_feedback';
const extraSchema = z.strictObject({ ranks: positiveInteger(), loss_scale: positiveNumber() });

const PREFIX = 'errors.';
const workerName = (rank: number, parameter: string): string => `${PREFIX}worker.${rank}.${parameter}`;
const serverName = (parameter: string): string => `${PREFIX}server.${parameter}`;

/** Whether a tensor of a checkpoint is one of these. */
export function isErrorTensor(name: string): boolean {
  return name.startsWith(PREFIX);
}

/** The errors of this rank's messages, and where all ranks have theirs. */
export interface ErrorState {
  readonly errors: TrainingErrors;
  /** Of every rank. */
  readonly programs: readonly Program[];
  readonly group: Pick<ProcessGroup, 'rank' | 'worldSize'>;
}

/** For `extra` of a checkpoint. */
export function errorsToSave({ errors, group }: ErrorState): Readonly<Record<string, JsonValue>> {
  const { lossScale } = errors;
  return lossScale === undefined ? {} : { [EXTRA]: { ranks: group.worldSize, loss_scale: lossScale } };
}

/**
 * What this rank saves of errors, by the names of parameters: what its own messages lost, and of what the messages of
 * sums lost, the elements that it encodes. Nothing before the first step.
 */
export function errorPieces(state: ErrorState, slots: readonly FlatSlot[]): readonly PieceSource[] {
  const { errors, programs, group } = state;
  if (errors.lossScale === undefined) return [];
  const { worker, server } = errors;
  const ofWorker = slots.map(({ name, shape, offset, elements }) =>
    pieceFrom({
      name: workerName(group.rank, name),
      dtype: worker.dtype,
      shape,
      start: 0,
      elements,
      flat: worker,
      offset,
    }),
  );
  if (server.elements === 0) return ofWorker;
  const ofServer = slots.flatMap((slot) =>
    serverPieces(programs, slot)
      .filter(({ rank }) => rank === group.rank)
      .map(({ offset, start, elements }) =>
        pieceFrom({
          name: serverName(slot.name),
          dtype: server.dtype,
          shape: slot.shape,
          start,
          elements,
          flat: server,
          offset,
        }),
      ),
  );
  return [...ofWorker, ...ofServer];
}

/** A piece of a parameter whose sums a rank encodes. */
interface ServerPiece {
  readonly rank: number;
  /** First element inside the rank's errors. */
  readonly offset: number;
  /** First element inside the parameter. */
  readonly start: number;
  readonly elements: number;
}

function serverPieces(programs: readonly Program[], slot: FlatSlot): readonly ServerPiece[] {
  return programs.flatMap((program) =>
    (program.errorFeedback?.server ?? []).flatMap((chunk) => {
      const from = Math.max(chunk.start, slot.offset);
      const to = Math.min(chunk.end, slot.offset + slot.elements);
      if (from >= to) return [];
      const offset = chunk.offset + from - chunk.start;
      return [{ rank: program.rank, offset, start: from - slot.offset, elements: to - from }];
    }),
  );
}

/**
 * Takes up the errors of a checkpoint. On as many ranks as it was saved with, each goes on with its own, to the last bit.
 * On another number every rank takes an equal share of all that was ever lost: what later sums make good is the sum of
 * the errors, whoever has them. The same becomes of errors of sums where sums are not encoded any more.
 *
 * @returns what is otherwise than one might expect, to be printed
 * @throws TrainyardError CHECKPOINT_INVALID for errors that no run can have saved
 */
export function loadErrors(
  checkpoint: LoadedCheckpoint,
  state: ErrorState | undefined,
  slots: readonly FlatSlot[],
): readonly string[] {
  const saved = extraSchema.optional().safeParse(checkpoint.state.extra[EXTRA]);
  if (!saved.success) throw impossible(checkpoint, EXTRA);
  if (state === undefined) {
    return saved.data === undefined
      ? []
      : ['the checkpoint has errors of messages, which this run does not feed back: they are dropped'];
  }
  state.errors.reset(saved.data?.loss_scale);
  if (saved.data === undefined) return [];
  const { ranks } = saved.data;
  const { worldSize } = state.group;
  noGrad(() => {
    for (const slot of slots)
      scope(() => loadParameterErrors(new SavedErrors(checkpoint, slot, ranks), state, slot));
  });
  return ranks === worldSize
    ? []
    : [`the errors of the messages of ${ranks} ranks are shared out over ${worldSize} in equal parts`];
}

function loadParameterErrors(
  saved: SavedErrors,
  { errors, programs, group }: ErrorState,
  slot: FlatSlot,
): void {
  const worker = errors.worker.narrow(0, slot.offset, slot.elements);
  const isSameWorld = saved.ranks === group.worldSize;
  if (isSameWorld) saved.worker(group.rank)(worker, 0);
  if (saved.server !== undefined && isSameWorld && errors.server.elements > 0) {
    for (const { rank, offset, start, elements } of serverPieces(programs, slot)) {
      if (rank === group.rank) saved.server(errors.server.narrow(0, offset, elements), start);
    }
    return;
  }
  const others = isSameWorld ? [] : Array.from({ length: saved.ranks }, (_, rank) => saved.worker(rank));
  for (const source of [...others, ...(saved.server ? [saved.server] : [])]) {
    const part = zeros([slot.elements]);
    source(part, 0);
    worker.add_(part, { alpha: 1 / group.worldSize });
  }
}

/** What a checkpoint says of one parameter's errors. */
class SavedErrors {
  readonly server: ParameterSource | undefined;
  readonly #checkpoint: LoadedCheckpoint;
  readonly #slot: FlatSlot;

  constructor(
    checkpoint: LoadedCheckpoint,
    slot: FlatSlot,
    readonly ranks: number,
  ) {
    this.#checkpoint = checkpoint;
    this.#slot = slot;
    const name = serverName(slot.name);
    this.server = checkpoint.names.includes(name) ? this.#source(name) : undefined;
  }

  worker(rank: number): ParameterSource {
    return this.#source(workerName(rank, this.#slot.name));
  }

  #source(name: string): ParameterSource {
    if (!this.#checkpoint.names.includes(name)) throw impossible(this.#checkpoint, name);
    const tensor = this.#checkpoint.read(name);
    if (tensor.shape.join() !== this.#slot.shape.join()) throw impossible(this.#checkpoint, name);
    return savedSource(tensor);
  }
}

function impossible({ tag }: LoadedCheckpoint, name: string): TrainyardError {
  return new TrainyardError('CHECKPOINT_INVALID', {
    what: `The checkpoint says something impossible of the errors of messages: ${name}.`,
    where: tag,
    cure: 'Remove this checkpoint; an older one beside it is used then.',
  });
}
