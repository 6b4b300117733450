import { FakeServer } from "../support/fake-line-server.ts";
import { FakeGuestAgent, FakeQmp } from "../support/fake-qmp-server.ts";
import { describeGuestAgentConformance } from "../support/guest-agent-conformance.ts";
import { describeQmpConformance } from "../support/qmp-conformance.ts";

describeQmpConformance("the fake QEMU", () => FakeServer.listen(new FakeQmp().protocol));
describeQmpConformance("a fake QEMU without oob", () => FakeServer.listen(new FakeQmp({ capabilities: [] }).protocol));
describeGuestAgentConformance("the fake guest", () => FakeServer.listen(new FakeGuestAgent().protocol));
