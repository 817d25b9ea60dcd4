"""`python -m ouro_ssm.killtest --rounds 1000`: processes are killed wherever they are; what happens to the others?

Each round joins two processes by a flow, one of which is killed after a random time, or at a random instruction of the
native kernel: the test traces the victim, steps it into the kernel and a random number of steps further, and kills it
there. No code of the kernel knows of that. Then the broker cleans up, and the survivor goes on until its flow is down.

Asked in every round: did the survivor read exactly a beginning of what was written, in order, nothing twice and nothing
damaged (bad); did all blocks of the victim and of the flow come back (leaks); did everybody notice within ten seconds
(hangs)? Bystanders pass packets through the same pools all the time, and notice nothing.
"""
