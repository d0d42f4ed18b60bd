// An echo as Go's documentation writes it: a goroutine for each client, which copies what it reads back.
package main

import (
	"fmt"
	"io"
	"log"
	"net"
	"os"
)

func main() {
	port := "7007"
	if len(os.Args) > 1 {
		port = os.Args[1]
	}
	listener, err := net.Listen("tcp", "127.0.0.1:"+port)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println("listening on", listener.Addr())
	for {
		client, err := listener.Accept()
		if err != nil {
			log.Fatal(err)
		}
		go func() {
			defer client.Close()
			io.Copy(client, client)
		}()
	}
}
