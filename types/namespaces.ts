import type { NamespaceKind, SpawnOptions } from './options.js';

/** Options of `createNamespaces`. Those it has in common with `spawnContained` mean the same, with the same defaults. */
export interface CreateNamespacesOptions extends Pick<SpawnOptions,
  | 'hostname' | 'domainname' | 'timeOffsets' | 'uidMap' | 'gidMap'
  | 'rootfs' | 'readonly' | 'mounts' | 'tmpfs' | 'maskedPaths' | 'readonlyPaths'> {
  /**
   * An absolute path of a directory, made when it is missing, in which the namespaces are held without any process by a file
   * each (`path/net`, `path/uts`, …), as `ip netns add` and `unshare --net=FILE` do: they outlive Node, until somebody
   * unmounts the files. Needs CAP_SYS_ADMIN. Not for `pid`, which ends with its first process. Default: held by a process.
   */
  path?: string;
}

/**
 * Namespaces that are there for others to enter: a source for the option `ns`, for each kind or for all of them.
 *
 * Without a `path` one small process holds them: it runs nothing, shows nothing of itself to those who enter, and reaps the
 * orphans of its pid namespace. It does not keep Node running, and ends with Node or by `remove()`.
 */
export interface Namespaces {
  /** What there is. Without root `user` is among them. */
  readonly kinds: readonly NamespaceKind[];
  /**
   * A file for each, for nsenter(1) and the like, and for the option `ns`. Of those that a process holds it is a
   * descriptor of this Node (`/proc/PID/fd/N`) and good until `remove()`.
   */
  readonly paths: Readonly<Partial<Record<NamespaceKind, string>>>;
  /** The process that holds them; undefined with a `path`. */
  readonly pid: number | undefined;
  /**
   * Gives them up. Who is in one goes on in it, but a `pid` namespace ends, and everybody in it is killed. With a `path` the files
   * are unmounted and deleted, and with them what other mount namespaces have of these; then the directory, if it was made by this
   * object and is empty. Again it does nothing.
   */
  remove(): Promise<void>;
  /** `remove`, for `await using`. */
  [Symbol.asyncDispose](): Promise<void>;
}
