// Reads standard input, which the runner closes at once: there is nothing to wait for.
// expect: exit 0
// output: 0 bytes read
let size = 0;
process.stdin.on('data', data => size += data.length);
process.stdin.on('end', () => console.log(`${size} bytes read`));
