import type { KeyTable } from '../key-table.js';
import { foreign, later, off, section, switched } from '../key-table.js';

const MONITORS = 'use `trainyard train --json`; monitors come later';
const COMMS_LOGGER = 'the communication log comes later';
const FLOPS = 'the flops profiler comes later';
const TIMERS = 'per-phase timers come later';

const monitor = switched('enabled', false, MONITORS, {
  output_path: later('', MONITORS),
  job_name: later('DeepSpeedJobName', MONITORS),
});

/** What a run tells about itself. */
export const observationKeys: KeyTable = {
  wall_clock_breakdown: off(false, TIMERS),
  memory_breakdown: off(false, TIMERS),
  dump_state: off(false, 'the resolved configuration is printed by other means'),
  log_level: later(null, 'the log level is not configured here'),
  timers: section({
    throughput: section({
      enabled: off(true, 'throughput is always reported'),
      synchronized: foreign(true, 'a step ends when its work has ended'),
    }),
  }),
  tensorboard: monitor,
  csv_monitor: monitor,
  wandb: switched('enabled', false, MONITORS, {
    group: later(null, MONITORS),
    team: later(null, MONITORS),
    project: later('deepspeed', MONITORS),
  }),
  comet: switched('enabled', false, MONITORS, {
    samples_log_interval: later(100, MONITORS),
    project: later(null, MONITORS),
    workspace: later(null, MONITORS),
    api_key: later(null, MONITORS),
    experiment_name: later(null, MONITORS),
    experiment_key: later(null, MONITORS),
    online: later(null, MONITORS),
    mode: later(null, MONITORS),
  }),
  comms_logger: switched('enabled', false, COMMS_LOGGER, {
    verbose: later(false, COMMS_LOGGER),
    prof_all: later(true, COMMS_LOGGER),
    prof_ops: later([], COMMS_LOGGER),
    debug: later(false, COMMS_LOGGER),
  }),
  flops_profiler: switched('enabled', false, FLOPS, {
    profile_step: later(1, FLOPS),
    module_depth: later(-1, FLOPS),
    top_modules: later(1, FLOPS),
    detailed: later(true, FLOPS),
    output_file: later(null, FLOPS),
    recompute_fwd_factor: later(0, FLOPS),
  }),
};
