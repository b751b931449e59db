#!/bin/sh
echo "result of $(id -u)" > /outdir/result
