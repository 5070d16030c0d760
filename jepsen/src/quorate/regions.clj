(ns quorate.regions
  "Regions that live and die as the nemesis says: an HTTP endpoint that answers its health, resets connections, or hangs.

  Needs clojure.core and the JDK only."
  (:import (java.io BufferedReader InputStreamReader)
           (java.net ServerSocket Socket)))

(defn- answer [^Socket client]
  (let [in (BufferedReader. (InputStreamReader. (.getInputStream client)))]
    (loop [] (when (seq (.readLine in)) (recur)))
    (let [body "{\"status\":\"UP\"}"
          head (str "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\nconnection: close\r\ncontent-length: " (count body) "\r\n\r\n")]
      (doto (.getOutputStream client) (.write (.getBytes (str head body))) (.flush)))))

(defn- serve [health ^Socket client]
  (try
    (case @health
      :up (answer client)
      ;; A reset and not an end: the kernel sends RST when nothing lingers.
      :closed (.setSoLinger client true 0)
      :hang (while (= :hang @health) (Thread/sleep 50)))
    (catch java.io.IOException _ nil)
    (finally (.close client))))

(defn start!
  "Starts one, healthy, on a free port."
  [name]
  (let [listener (ServerSocket. 0 200)
        health (atom :up)]
    (doto (Thread. ^Runnable (fn []
                               (try
                                 (loop []
                                   (let [client (.accept listener)]
                                     (future (serve health client)))
                                   (recur))
                                 (catch java.net.SocketException _ nil)))
                   (str "region " name))
      (.setDaemon true)
      (.start))
    {:name name :listener listener :port (.getLocalPort listener) :health health}))

(defn set-health! [region health] (reset! (:health region) health))

(defn stop! [{:keys [^ServerSocket listener]}] (.close listener))
