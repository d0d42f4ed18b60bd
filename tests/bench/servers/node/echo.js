// An echo as Node's documentation writes it: what comes is piped back, and reading pauses while writing must wait.
const net = require('node:net');

const server = net.createServer({ noDelay: true }, (client) => {
  client.on('error', () => client.destroy());
  client.pipe(client);
});
server.listen({ port: Number(process.argv[2] ?? 7007), host: '127.0.0.1' }, () =>
  console.log(`listening on 127.0.0.1:${server.address().port}`));
