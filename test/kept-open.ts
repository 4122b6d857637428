import type { ProcessGroup } from '../src/comm/process-group.js';

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
