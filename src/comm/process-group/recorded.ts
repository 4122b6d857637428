import type { DType } from '../../tensor/dtype.js';
import type { Tensor } from '../../tensor/tensor.js';
import type { OpenEntry } from '../flight/collective-recorder.js';
import type { Flight } from '../flight/flight.js';
import { seriesOf, WORLD } from '../flight/flight-record.js';
import type { ProcessGroup, Reduction, StagesOf } from '../process-group.js';
import type { Work } from '../work.js';

/** A group whose operations are numbered, timed and remembered, and explained when they fail. */
export class RecordedGroup implements ProcessGroup {
  readonly #group: ProcessGroup;
  readonly #flight: Flight;
  readonly #name: string;
  #isClosed = false;

  constructor(group: ProcessGroup, flight: Flight, name: string = WORLD) {
    this.#group = group;
    this.#flight = flight;
    this.#name = name;
  }

  get rank(): number {
    return this.#group.rank;
  }

  get worldSize(): number {
    return this.#group.worldSize;
  }

  get sumsInOrder(): boolean {
    return this.#group.sumsInOrder;
  }

  get readsInPlace(): boolean {
    return this.#group.readsInPlace;
  }

  get stagesOf(): StagesOf | undefined {
    return this.#group.stagesOf;
  }

  get exchangedBytes(): number {
    return this.#group.exchangedBytes;
  }

  allocate(elements: number, dtype: DType): Tensor {
    return this.#group.allocate(elements, dtype);
  }

  allReduce(tensor: Tensor, reduction: Reduction): Work {
    return this.#record(`allReduce (${reduction})`, tensor, () => this.#group.allReduce(tensor, reduction));
  }

  broadcast(tensor: Tensor, root: number): Work {
    return this.#record(`broadcast from rank ${root}`, tensor, () => this.#group.broadcast(tensor, root));
  }

  allGather(output: Tensor, input: Tensor): Work {
    return this.#record('allGather', input, () => this.#group.allGather(output, input));
  }

  reduceScatter(output: Tensor, inputs: readonly Tensor[], reduction: Reduction): Work {
    return this.#record(`reduceScatter (${reduction})`, output, () =>
      this.#group.reduceScatter(output, inputs, reduction),
    );
  }

  allToAll(output: Tensor, input: Tensor): Work {
    return this.#record('allToAll', input, () => this.#group.allToAll(output, input));
  }

  send(tensor: Tensor, peer: number, tag?: number): Work {
    return this.#record(`send to rank ${peer}`, tensor, () => this.#group.send(tensor, peer, tag), true);
  }

  receive(tensor: Tensor, peer: number, tag?: number): Work {
    const start = (): Work => this.#group.receive(tensor, peer, tag);
    return this.#record(`receive from rank ${peer}`, tensor, start, true);
  }

  barrier(): Work {
    return this.#record('barrier', undefined, () => this.#group.barrier());
  }

  withDeadline(timeoutMs: number): ProcessGroup {
    const seconds = timeoutMs / 1000;
    const meeting = this.#begin(`meet for a deadline of ${seconds} s`);
    meeting.wait_began = meeting.started;
    const group = this.#explained(meeting, () => {
      this.#compare();
      return this.#group.withDeadline(timeoutMs);
    });
    meeting.ended = Date.now();
    return new RecordedGroup(group, this.#flight, `${this.#name}, ${seconds} s`);
  }

  /** @throws TrainyardError COLLECTIVE_FAILED where ranks turn out to have been in different collectives; it is closed then too */
  close(): void {
    const isLast = this.#name === WORLD && !this.#isClosed;
    this.#isClosed = true;
    try {
      if (isLast) this.#flight.compareAtEnd();
    } finally {
      this.#group.close();
    }
  }

  #record(operation: string, tensor: Tensor | undefined, start: () => Work, isMessage = false): Work {
    const entry = this.#begin(operation, tensor, isMessage);
    const work = this.#explained(entry, () => {
      if (!isMessage) this.#compare();
      return start();
    });
    return {
      wait: () => {
        if (entry.ended !== null) return;
        entry.wait_began = Date.now();
        this.#explained(entry, () => work.wait());
        entry.ended = Date.now();
      },
    };
  }

  #begin(operation: string, tensor?: Tensor, isMessage = false): OpenEntry {
    return this.#flight.recorder.start({
      operation,
      group: this.#name,
      dtype: tensor?.dtype ?? '',
      elements: tensor?.elements ?? 0,
      counted: isMessage ? 'not' : this.#isWorld ? 'by all' : 'by its group',
    });
  }

  get #isWorld(): boolean {
    return seriesOf({ group: this.#name }) === WORLD;
  }

  /** What all ranks do together they compare now and then; what some do, they see when it takes long. */
  #compare(): void {
    if (this.#isWorld) this.#flight.compare();
  }

  #explained<Result>(entry: OpenEntry, body: () => Result): Result {
    try {
      return this.#flight.recorder.exposed(body);
    } catch (error) {
      throw this.#flight.explain(error, entry);
    }
  }
}
