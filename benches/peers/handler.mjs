// A custom handler as small as can be: answers the Functions host's probe, with nothing imported but a server.
import { createServer } from "node:http";

createServer((_, response) => response.end()).listen(Number(process.env.FUNCTIONS_CUSTOMHANDLER_PORT), "127.0.0.1");
