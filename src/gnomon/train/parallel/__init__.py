"""One run in many processes: torchrun starts them, a device mesh arranges them, FSDP2 shards the model over it.

mesh.py the shape of the mesh; world.py the processes; learner.py the sharded model with its gradient and update;
store.py checkpoints of which every process writes its part. The loop is the trainer's own.
"""
