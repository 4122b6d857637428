import type { ProcessGroup } from '../src/comm/process-group.js';
import type { World } from '../src/engine/world.js';

/** The same group, which an engine that is closed leaves open for the next. */
export function keptOpen(open: ProcessGroup): ProcessGroup {
  return new Proxy(open, {
    get: (target, key) => {
      if (key === 'close') return () => {};
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

/** The same world, whose groups an engine that is closed leaves open for the next. */
export function keptOpenWorld(world: World): World {
  const { pipeline, data, tensor, shard, sequence } = world.axes;
  return {
    ...world,
    group: keptOpen(world.group),
    axes: {
      ...world.axes,
      pipeline: keptOpen(pipeline),
      data: keptOpen(data),
      tensor: keptOpen(tensor),
      shard: keptOpen(shard),
      ...(sequence && { sequence: keptOpen(sequence) }),
    },
  };
}
