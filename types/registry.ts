/** One of the containers that have a name: the answer of `containers`. */
export interface ContainerInfo {
  readonly id: string;
  /**
   * `exited`: it has ended and is kept, see the option `autoRemove`. `lost`: it has ended, and the launcher that watched it was
   * killed before, so that nobody knows how.
   */
  readonly state: 'starting' | 'running' | 'paused' | 'exited' | 'lost';
  /** Of its first process on the host, while it runs. */
  readonly pid: number | undefined;
  /** File and arguments. */
  readonly command: readonly string[];
  readonly created: Date;
  readonly labels: Readonly<Record<string, string>>;
  readonly detached: boolean;
  /** Of one that has exited; null when a signal ended it, or it has not ended. */
  readonly exitCode: number | null;
  readonly signal: NodeJS.Signals | null;
}

/** A piece of what a detached container has written: not a line, but what came at once. */
export interface LogEntry {
  readonly time: Date;
  readonly stream: 'stdout' | 'stderr';
  readonly data: Buffer;
}

/** Options of `Contained.logs`. */
export interface LogOptions {
  /** Goes on with what is still to come, until the container has ended. Default false. */
  follow?: boolean;
  /** Nothing that is older. Default: all that is kept. */
  since?: Date;
  /** Ends the following. */
  signal?: AbortSignal;
}
