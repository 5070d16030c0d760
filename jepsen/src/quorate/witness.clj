(ns quorate.witness
  "The witness: a TCP proxy in front of a DNS server outside the cluster. It records every UPDATE, when it came, from whom,
  what it asked for and what the server answered, and misbehaves when the nemesis says so.

  Needs clojure.core and the JDK only."
  (:require [quorate.wire :as wire])
  (:import (java.io DataInputStream DataOutputStream)
           (java.net InetSocketAddress ServerSocket Socket)))

(defn- read-frame [^DataInputStream in]
  (let [message (byte-array (.readUnsignedShort in))]
    (.readFully in message)
    message))

(defn- write-frame [^DataOutputStream out ^bytes message]
  (.writeShort out (alength message))
  (.write out message)
  (.flush out))

(defn- forward [[host port] message]
  (with-open [server (doto (Socket.) (.connect (InetSocketAddress. ^String host (int port)) 5000) (.setSoTimeout 10000))]
    (write-frame (DataOutputStream. (.getOutputStream server)) message)
    (read-frame (DataInputStream. (.getInputStream server)))))

(defn- servfail [message]
  (let [answer (byte-array (take 12 message))]
    (aset-byte answer 2 (unchecked-byte (bit-or 0x80 (aget answer 2))))
    (aset-byte answer 3 (unchecked-byte 2))
    (doseq [at (range 4 12)] (aset-byte answer at 0))
    answer))

(defn- note! [{:keys [log cluster standing]} message from arrived outcome code]
  (doseq [{:keys [service epoch values]} (wire/changes cluster (vec message))]
    (swap! log conj {:nanos (System/nanoTime) :process :witness :type :info :f :write
                     :value {:service service :from from :epoch epoch :values values :outcome outcome
                             :rcode code :arrived-nanos arrived}})
    (when (= :taken outcome) (swap! standing assoc service {:values values :epoch epoch :nanos (System/nanoTime)}))))

(defn- update! [{:keys [turn fault upstream] :as witness} message from]
  (let [arrived (System/nanoTime)
        {:keys [kind ms]} @fault]
    (case kind
      (:busy :error) (do (note! witness message from arrived :undelivered nil)
                         (when (= :error kind) (servfail message)))
      (do
        (when (= :delay kind) (Thread/sleep (long ms)))
        ;; One at a time, so that the record is in the order in which the server met them.
        (locking turn
          (let [answer (try (forward upstream message) (catch java.io.IOException _ nil))
                code (when answer (wire/rcode (vec answer)))]
            (note! witness message from arrived (cond (nil? code) :undelivered (zero? code) :taken :else :refused) code)
            (when-not (= :drop-answer kind) answer)))))))

(defn- serve [{:keys [fault upstream node-of] :as witness} ^Socket client]
  (with-open [client client]
    (try
      (let [in (DataInputStream. (.getInputStream client))
            out (DataOutputStream. (.getOutputStream client))
            from (node-of (.getHostAddress (.getInetAddress client)))]
        (loop []
          (let [message (read-frame in)
                answer (cond
                         ;; Carried out whatever becomes of the client.
                         (wire/update? (vec message)) @(future (update! witness message from))
                         (= :busy (:kind @fault)) nil
                         (= :error (:kind @fault)) (servfail message)
                         :else (forward upstream message))]
            (when answer
              (write-frame out answer)
              (recur)))))
      (catch java.io.IOException _ nil))))

(defn start!
  "Starts on a port (0: a free one). `node-of` turns an address into a node's number. Returns the witness; `:log` is an atom
  with everything recorded, `:standing` one with what each record is, `:fault` one with what goes wrong."
  [{:keys [port upstream cluster node-of log]}]
  (let [listener (ServerSocket. (int port))
        witness {:listener listener :port (.getLocalPort listener) :upstream upstream :cluster cluster :node-of node-of
                 :log (or log (atom [])) :standing (atom {}) :fault (atom {:kind :none}) :turn (Object.)}]
    (doto (Thread. ^Runnable (fn []
                               (try
                                 (loop []
                                   (let [client (.accept listener)]
                                     (future (serve witness client)))
                                   (recur))
                                 (catch java.net.SocketException _ nil)))
                   "witness")
      (.setDaemon true)
      (.start))
    witness))

(defn set-fault! [witness fault] (reset! (:fault witness) fault))

(defn stop! [{:keys [^ServerSocket listener]}] (.close listener))
