"""What to do when a device has too little memory."""


def out_of_memory(error: RuntimeError) -> str:
    """Give a sentence for a device that has too little memory; nothing for other errors."""
    if "RESOURCE_EXHAUSTED" not in str(error):
        return ""
    return (
        f"the device has too little memory: {str(error).splitlines()[0]}\nIn training lower train.batch_size, or set "
        "train.micro_batch_size or model.remat; in evaluation lower eval.batch_size."
    )
