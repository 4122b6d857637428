import type { ProcessGroup } from '../comm/process-group.js';
import type { TierTraffic } from '../offload/tier-traffic.js';
import { ExchangeTime } from '../step/exchange-time.js';
import type { TimedInstruction } from '../step/executor.js';
import type { Program } from '../step/program.js';
import type { EngineParts } from './engine-parts.js';
import { exchangedBytes, type MeshGroups } from './mesh-groups.js';
import type { StepResult } from './step-result.js';

/** Measures a step of this rank from its making on: its time, and what of it was spent on nothing but waiting for others. */
export class StepMeter {
  readonly #flight: EngineParts['flight'];
  readonly #group: ProcessGroup;
  readonly #axes: MeshGroups;
  readonly #traffic: TierTraffic | undefined;
  readonly #exchangeTime = new ExchangeTime();
  readonly #startMs = performance.now();
  readonly #bytesBefore: number;
  readonly #waitedBefore: number;
  #standstillMs: number;

  constructor(
    { flight, group, axes }: Pick<EngineParts, 'flight' | 'group' | 'axes'>,
    traffic?: TierTraffic,
  ) {
    this.#flight = flight;
    this.#group = group;
    this.#axes = axes;
    this.#traffic = traffic;
    this.#standstillMs = flight?.recorder.exposedMs ?? 0;
    this.#bytesBefore = exchangedBytes(group, axes);
    this.#waitedBefore = traffic?.waitedMs ?? 0;
  }

  /** Must see every instruction, in its order. */
  add(program: Program, timed: TimedInstruction): void {
    const before = this.#standstillMs;
    this.#standstillMs = this.#flight?.recorder.exposedMs ?? 0;
    this.#exchangeTime.add(program, timed, this.#standstillMs - before);
  }

  /** Up to now. */
  result(): Pick<
    StepResult,
    'milliseconds' | 'exposedCommunicationMs' | 'exposedOffloadMs' | 'exchangedBytes'
  > {
    return {
      milliseconds: performance.now() - this.#startMs,
      exposedCommunicationMs: this.#exchangeTime.milliseconds,
      ...(this.#traffic && { exposedOffloadMs: this.#traffic.waitedMs - this.#waitedBefore }),
      exchangedBytes: exchangedBytes(this.#group, this.#axes) - this.#bytesBefore,
    };
  }
}
