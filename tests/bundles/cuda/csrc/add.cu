__global__ void add(float *a, const float *b) { a[threadIdx.x] += b[threadIdx.x]; }
