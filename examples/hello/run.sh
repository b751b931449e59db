echo "Hello from job $DOPQ_JOB_ID, attempt $DOPQ_ATTEMPT."
echo "My GPUs are: $NVIDIA_VISIBLE_DEVICES"
echo "Download /outdir with: dopq fetch $DOPQ_JOB_ID"
echo "hello" > /outdir/hello.txt
