import type { SpawnOptions } from '../../types/options.js';
import { OptionError } from '../errors.js';
import { callerNames, readMap, subordinateIds, type HostFacts } from '../host/facts.js';
import * as check from './check.js';
import type { Identity, IdMap, Namespaces } from './settings.js';

const MAX_ID = 0xffff_fffe;
const NOBODY = 65534;

/** Ids for root to map where /etc/subuid grants it none: the last of the range that systemd sets aside for containers. */
const UNUSED = { first: 1_879_048_192 - 65_536, count: 65_536 };

type User = NonNullable<Identity['user']>;

const id = (path: string, value: unknown): number => check.integer(path, value, 0, MAX_ID);

function numeric(path: string, text: string): number | undefined {
  return /^\d+$/.test(text) ? id(path, Number(text)) : undefined;
}

/** `'name'`, `'name:group'`, `'uid'`, `'uid:gid'`. Numeric means numeric (CVE-2016-3697). */
function parseUser(text: string): User {
  const [user = '', group, ...rest] = check.nonEmpty('user', text).split(':');
  const word = /^[^\s:,\/]+$/;
  if (!word.test(user) || (group !== undefined && !word.test(group)) || rest.length > 0) throw new OptionError('user', text, "'name', 'name:group', 'uid' or 'uid:gid'");
  const uid = numeric('user', user);
  if (uid === undefined) {
    if (group !== undefined && /^\d+$/.test(group)) throw new OptionError('user', text, 'a group name with a user name; give ids as { uid, gid }');
    return { name: user, group: group ?? null };
  }
  const gid = group === undefined ? uid : numeric('user', group);
  if (gid === undefined) throw new OptionError('user', text, 'a group id with a user id');
  return { uid, gid, groups: [] };
}

export function givenUser(value: unknown): User {
  if (typeof value === 'string') return parseUser(value);
  if (typeof value === 'number') return { uid: id('user', value), gid: value, groups: [] };
  const given = check.object('user', value, 'an id, a name or { uid, gid, groups }');
  check.knownKeys('user', given, ['uid', 'gid', 'groups']);
  const uid = id('user.uid', given['uid']);
  const groups = check.array('user.groups', given['groups'] ?? []);
  if (groups.length > 64) throw new OptionError('user.groups', groups, 'up to 64 groups', 'ERR_OUT_OF_RANGE');
  return { uid, gid: check.optional(given['gid'], v => id('user.gid', v), uid), groups: groups.map((g, i) => id(`user.groups[${i}]`, g)) };
}

function resolveRanges(path: string, value: unknown): IdMap['ranges'] {
  const rows = check.array(path, value, "'auto' or an array of { inside, outside, count }");
  if (rows.length === 0 || rows.length > 340) throw new OptionError(path, value, 'from 1 to 340 ranges', 'ERR_OUT_OF_RANGE');
  return rows.map((row, i) => {
    const at = `${path}[${i}]`;
    const range = check.object(at, row);
    check.knownKeys(at, range, ['inside', 'outside', 'count']);
    return {
      inside: id(`${at}.inside`, range['inside']),
      outside: id(`${at}.outside`, range['outside']),
      count: check.integer(`${at}.count`, range['count'], 1, MAX_ID),
    };
  });
}

/** A range that the caller may use for `'auto'`. Without root its own id comes first, so that it owns what it makes. */
function autoMap(kind: 'uid' | 'gid', host: HostFacts): IdMap {
  const file = `/etc/sub${kind}` as const;
  if (host.privileged) {
    const granted = subordinateIds(file, ['root', 'spawn-contained'])[0] ?? UNUSED;
    return { ranges: [{ inside: 0, outside: granted.first, count: Math.min(granted.count, 65_536) }], tool: undefined };
  }
  const granted = subordinateIds(file, callerNames())[0];
  if (!granted) throw new OptionError(`${kind}Map`, 'auto', `a range for this user in ${file}; see subuid(5), or give no map`);
  return {
    ranges: [{ inside: 0, outside: host[kind], count: 1 }, { inside: 1, outside: granted.first, count: granted.count }],
    tool: `/usr/bin/new${kind}map`,
  };
}

function resolveMap(kind: 'uid' | 'gid', value: unknown, host: HostFacts, inside: number): IdMap {
  if (value === 'auto') return autoMap(kind, host);
  if (value === undefined) {
    if (host.privileged) return autoMap(kind, host);
    return { ranges: [{ inside, outside: host[kind], count: 1 }], tool: undefined };
  }
  const ranges = resolveRanges(`${kind}Map`, value);
  const own = ranges.length === 1 && ranges[0]!.count === 1 && ranges[0]!.outside === host[kind];
  return { ranges, tool: host.privileged || own ? undefined : `/usr/bin/new${kind}map` };
}

const covers = (map: IdMap, wanted: number): boolean =>
  map.ranges.some(({ inside, count }) => wanted >= inside && wanted < inside + count);

function checkMapped(user: User | undefined, uid: IdMap, gid: IdMap): void {
  if (!user || 'name' in user) return;
  if (!covers(uid, user.uid)) throw new OptionError('user', user.uid, 'an id that uidMap maps');
  if (!covers(gid, user.gid)) throw new OptionError('user', user.gid, 'a group id that gidMap maps');
}

const asksForGroups = (user: User | undefined): boolean => user !== undefined && 'groups' in user && user.groups.length > 0;

/** Root of the namespace of a process, or the first id there when root is not mapped. */
function firstOf(pid: number | undefined): User {
  const first = (file: string): number => {
    const rows = pid === undefined ? [] : readMap(`/proc/${pid}/${file}`);
    return rows.length === 0 || rows.some(([inside, , count]) => inside === 0 && count! > 0) ? 0 : rows[0]![0]!;
  };
  return { uid: first('uid_map'), gid: first('gid_map'), groups: [] };
}

export function resolveIdentity(options: SpawnOptions, { create, join }: Namespaces, host: HostFacts, hostRoot: boolean): Identity {
  const given = check.optional(options.user, givenUser, undefined);
  if (!create.has('user')) {
    for (const key of ['uidMap', 'gidMap'] as const) if (options[key] !== undefined) throw new OptionError(key, options[key], 'a new `user` in ns');
    // Who enters a user namespace is whoever it maps the caller to; as root, its root.
    if (join.has('user')) return { user: given ?? (host.privileged ? firstOf(join.get('user')!.pid) : undefined), maps: undefined, setgroups: asksForGroups(given) };
    // Nothing of the host is protected from its own root, so a command that sees the host's files is somebody else.
    const fallback = host.privileged && hostRoot ? { uid: NOBODY, gid: NOBODY, groups: [] } : undefined;
    const user = given ?? fallback ?? (host.privileged ? { uid: 0, gid: 0, groups: [] } : undefined);
    const same = given && 'uid' in given && given.uid === host.uid && given.gid === host.gid && given.groups.length === 0;
    if (!host.privileged && given && !same) throw new OptionError('user', options.user, 'no other user without root or a new `user` in ns');
    return { user: host.privileged ? user : undefined, maps: undefined, setgroups: host.privileged };
  }

  const numericUser = given && 'uid' in given ? given : undefined;
  const single = !host.privileged && options.uidMap === undefined;
  if (single && given && !numericUser) throw new OptionError('user', options.user, 'a number, or a uidMap with more than the one id');
  const gidOption = options.gidMap ?? (options.uidMap === 'auto' ? 'auto' : undefined);
  const uid = resolveMap('uid', options.uidMap, host, numericUser?.uid ?? host.uid);
  const gid = resolveMap('gid', gidOption, host, numericUser?.gid ?? host.gid);
  const first = { uid: uid.ranges[0]!.inside, gid: gid.ranges[0]!.inside, groups: [] };
  const user = given ?? first;
  checkMapped(user, uid, gid);
  // user_namespaces(7): without privilege over the group map, setgroups must be denied before it is written.
  const setgroups = host.privileged || gid.tool !== undefined;
  if (!setgroups && numericUser && numericUser.groups.length > 0) throw new OptionError('user.groups', numericUser.groups, "no groups, or gidMap: 'auto'");
  return { user, maps: { uid, gid }, setgroups };
}
