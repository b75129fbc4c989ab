// Names of the command line → namespaces that are there: those of `contained ns create`, or of a container.
import { existsSync } from 'node:fs';
import { join } from 'node:path';
import type { NamespaceMap, NamespaceSource, SpawnOptions } from '../../types/options.js';
import { attach } from '../attach.js';
import { KINDS } from '../options/namespaces.js';

/** Where names stand for directories. Not below the library's own, in which each directory is a container. */
export const HELD = '/run/contained/ns';

const NEW = ['mnt', 'pid', 'net', 'ipc', 'uts', 'cgroup'] as const;

const isName = (source: unknown): source is string => typeof source === 'string' && !source.includes('/') && source !== 'new' && source !== 'host';

async function named(kind: string, name: string): Promise<NamespaceSource> {
  const path = join(HELD, name, kind);
  return name !== '' && existsSync(path) ? path : await attach(name);
}

function mapOf(ns: SpawnOptions['ns']): NamespaceMap {
  if (Array.isArray(ns) || ns === undefined) return Object.fromEntries((ns ?? NEW).map(kind => [kind, 'new']));
  return typeof ns === 'number' ? { all: ns } : ns as NamespaceMap;
}

/** `networkOf`: the container whose network it is to have. */
export async function withSources(ns: SpawnOptions['ns'], networkOf: string | undefined): Promise<SpawnOptions['ns']> {
  if (networkOf === undefined && (Array.isArray(ns) || typeof ns !== 'object')) return ns;
  const map = { ...mapOf(ns), ...networkOf === undefined ? {} : { net: networkOf } };
  const found = await Promise.all([...KINDS, 'all' as const].map(async kind => [kind, isName(map[kind]) ? await named(kind, map[kind]) : map[kind]] as const));
  return Object.fromEntries(found.filter(([, source]) => source !== undefined));
}
