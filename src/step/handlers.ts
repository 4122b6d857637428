import type { Handlers } from './executor.js';
import { accumulate } from './handlers/accumulate.js';
import { adopt } from './handlers/adopt.js';
import { agree } from './handlers/agree.js';
import { backward } from './handlers/backward.js';
import { cast } from './handlers/cast.js';
import { check } from './handlers/check.js';
import { clear } from './handlers/clear.js';
import { clip } from './handlers/clip.js';
import { compare } from './handlers/compare.js';
import { complete } from './handlers/complete.js';
import { copy } from './handlers/copy.js';
import { evict } from './handlers/evict.js';
import { exchange } from './handlers/exchange.js';
import { fetch } from './handlers/fetch.js';
import { forward } from './handlers/forward.js';
import { gather } from './handlers/gather.js';
import { load } from './handlers/load.js';
import { merge } from './handlers/merge.js';
import { prepare } from './handlers/prepare.js';
import { publish } from './handlers/publish.js';
import { receive } from './handlers/receive.js';
import { recompute } from './handlers/recompute.js';
import { reduce } from './handlers/reduce.js';
import { release } from './handlers/release.js';
import { remember } from './handlers/remember.js';
import { restore } from './handlers/restore.js';
import { scatter } from './handlers/scatter.js';
import { send } from './handlers/send.js';
import { step } from './handlers/step.js';
import type { StepState } from './handlers/step-state.js';
import { sum } from './handlers/sum.js';
import { update } from './handlers/update.js';
import { wait } from './handlers/wait.js';
import type { Program } from './program.js';

/** What the instructions really do: one handler per operation, over the state of one step. */
export function createHandlers(program: Program, state: StepState): Handlers {
  return {
    accumulate: accumulate(program, state),
    clear: clear(program, state),
    load: load(state),
    forward: forward(state),
    recompute: recompute(state),
    backward: backward(program, state),
    send: send(program, state),
    receive: receive(program, state),
    complete: complete(state),
    reduce: reduce(program, state),
    cast: cast(state),
    gather: gather(program, state),
    copy: copy(state),
    prepare: prepare(state),
    scatter: scatter(program, state),
    sum: sum(state),
    release: release(state),
    agree: agree(program, state),
    evict: evict(program, state),
    fetch: fetch(program, state),
    wait: wait(state),
    remember: remember(program, state),
    restore: restore(program, state),
    check: check(program, state),
    clip: clip(program, state),
    step: step(state),
    adopt: adopt(state),
    update: update(state),
    exchange: exchange(state),
    merge: merge(program, state),
    publish: publish(state),
    compare: compare(program, state),
  };
}
