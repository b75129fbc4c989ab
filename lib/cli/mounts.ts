// Docker's three ways to write a mount: -v, --mount and --tmpfs.
import type { Mount, Size } from '../../types/options.js';
import { didYouMean } from '../options/check.js';
import { octal, pair, UsageError } from './values.js';

/** `SRC:DST`, `SRC:DST:ro`. Not recognised: a path with a colon; --mount takes those. */
export function readVolume(text: string): Mount {
  const [source, target, mode = 'rw', ...rest] = text.split(':');
  if (!source || !target || rest.length > 0 || (mode !== 'ro' && mode !== 'rw')) throw new UsageError(`expected SRC:DST or SRC:DST:ro, got ${JSON.stringify(text)}`);
  return { type: 'bind', source, target, readonly: mode === 'ro' };
}

type Put = (value: string) => Record<string, unknown>;

const yes = (value: string): boolean => value === '' || value === 'true' || value === '1';

/** The keys of --mount, docker's other names for them too. */
const KEYS: Record<string, Put> = {
  type: type => ({ type }),
  source: source => ({ source }),
  src: source => ({ source }),
  target: target => ({ target }),
  dst: target => ({ target }),
  destination: target => ({ target }),
  readonly: value => ({ readonly: yes(value) }),
  ro: value => ({ readonly: yes(value) }),
  recursive: value => ({ recursive: yes(value) }),
  propagation: propagation => ({ propagation }),
  size: size => ({ size }),
  'tmpfs-size': size => ({ size }),
  mode: value => ({ mode: octal(value) }),
  'tmpfs-mode': value => ({ mode: octal(value) }),
  lower: value => ({ lower: value.split(':') }),
  upper: upper => ({ upper }),
  work: work => ({ work }),
};

function keyed(part: string): Record<string, unknown> {
  const [key, value] = part.includes('=') ? pair(part, 'KEY=VALUE') : [part, ''];
  const put = KEYS[key];
  if (!put) throw new UsageError(`no such key ${JSON.stringify(key)}${didYouMean(key, Object.keys(KEYS))}`);
  return put(value);
}

/** `type=bind,source=/srv,target=/srv,readonly`. Without a type it is a bind, as a source has to be named then. */
export function readMount(text: string): Mount {
  const given: Record<string, unknown> = Object.assign({}, ...text.split(',').map(keyed));
  if (given['target'] === undefined) throw new UsageError(`target= is missing in ${JSON.stringify(text)}`);
  return { type: 'bind', ...given } as Mount;
}

/** `/tmp`, `/tmp:size=64M,mode=700,ro`. */
export function readTmpfs(text: string): Record<string, { size?: Size; mode?: number; readonly?: boolean }> {
  const at = text.indexOf(':');
  if (at < 0) return { [text]: {} };
  const allowed = ['size', 'mode', 'ro', 'rw'];
  const parts = text.slice(at + 1).split(',').map(part => {
    const [key] = part.split('=');
    if (!allowed.includes(key!)) throw new UsageError(`no such key ${JSON.stringify(key)}${didYouMean(key!, allowed)}`);
    return part === 'rw' ? { readonly: false } : keyed(part);
  });
  return { [text.slice(0, at)]: Object.assign({}, ...parts) };
}
